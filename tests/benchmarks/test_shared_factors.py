"""Shared and separate factors are compared at equal weights, on a tiny encoder."""

import numpy as np
import pytest
import torch

import eckart
from benchmarks.shared_factors import compared, stacks, stored, table
from transformer_networks import bert, padded, token_ids

pytest.importorskip("transformers")


def test_weights_of_a_pair_never_pass_those_of_the_layer():
    weight = torch.zeros(2, 3)
    assert stored(weight, pivoted=False).tolist() == [0, 5, 6]
    assert stored(weight, pivoted=True).tolist() == [0, 4, 6]


def test_layers_of_one_row_space_gain_by_sharing_it():
    network = bert()
    attention = network.encoder.layer[0].attention.self
    common = torch.randn(4, attention.query.in_features)
    for layer in (attention.query, attention.key, attention.value):
        layer.weight.data = torch.randn(layer.out_features, 4) @ common
        layer.weight.data += 1e-3 * torch.randn_like(layer.weight)
    rows = [token_ids(1, length)[0] for length in (5, 9, 12, 7)]
    moments = eckart.calibrate(network, [padded(rows)] * 4, progress=False)
    names = stacks(moments)["encoder.layer.0.attention.self.query"]
    assert [name.rpartition(".")[2] for name in names] == ["query", "key", "value"]
    found = list(compared(network, moments, names))
    assert all(np.isfinite(row["ratio"]) for row in found)
    by_inputs = {r["keep"]: r["ratio"] for r in found if r["metric"] == "A" and not r["pivoted"]}
    assert by_inputs[0.4] < 1
    rows = [{"network": "bert", **row} for row in found]
    assert "bert, query, key, value | A and G | yes" in table(rows)

"""Plans with and without shared factors are compared, on a tiny encoder."""

import pytest
import torch

import eckart
from benchmarks.shared_factors import KEEPS, SUBJECTS, Subject, measured, table
from transformer_networks import bert, padded, token_ids

pytest.importorskip("transformers")


def test_layers_of_one_row_space_gain_by_sharing_it():
    network = bert()
    attention = network.encoder.layer[0].attention.self
    common = torch.randn(4, attention.query.in_features)
    for layer in (attention.query, attention.key, attention.value):
        layer.weight.data = torch.randn(layer.out_features, 4) @ common
        layer.weight.data += 1e-3 * torch.randn_like(layer.weight)
    batches = [padded([token_ids(1, length)[0] for length in (5, 9, 12, 7)])] * 4
    subject = Subject(network, batches, lambda model: eckart.Score(0.5, n=2), 1e-6)
    rows = list(measured("bert", subject, None))
    own, shared = (
        {r["keep"]: r for r in rows if r["offered"] == offered} for offered in ("own", "shared")
    )
    for keep in KEEPS:
        assert shared[keep]["loss"] <= own[keep]["loss"] * (1 + 1e-6)
        assert own[keep]["together"] == 0
    assert shared[0.4]["loss"] < own[0.4]["loss"]
    assert shared[0.4]["together"] >= 1
    found = table(
        [
            {**row, "network": name, "metric": metric}
            for row in rows
            for name in SUBJECTS
            for metric in ("A", "A and G")
        ]
    )
    ratio = shared[0.4]["loss"] / own[0.4]["loss"]
    assert found.count(f"{ratio:.3f} ({shared[0.4]['together']} of 2): 50.00 → 50.00") == 4

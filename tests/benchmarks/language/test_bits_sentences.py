"""A tiny encoder in few bits, tables included."""

import pytest
import torch

import eckart
from benchmarks.language.bits_sentences import PLACES, WORDS, coded, within
from transformer_networks import bert, padded, token_ids

transformers = pytest.importorskip("transformers")


def test_the_network_keeps_to_its_bytes_and_its_tables_are_in_codes():
    rows = [token_ids(1, length)[0] for length in (5, 9, 12, 7)]
    model = bert()
    moments = eckart.calibrate(model, [padded(rows[:2]), padded(rows[2:])] * 4, progress=False)
    curves = eckart.curves(model, moments, methods=(), bits=(2, 4, 8), progress=False)
    tables = {
        WORDS: [coded(model, WORDS, moments, bits) for bits in (3, 4, 5, 6, 8)],
        PLACES: [coded(model, PLACES, moments, 8)],
    }
    losses = [table.loss for table in tables[WORDS]]
    assert losses == sorted(losses, reverse=True)
    assert [table.saved for table in tables[WORDS]] == sorted(
        (table.saved for table in tables[WORDS]), reverse=True
    )
    network, row = within(model, moments, curves, tables, 0.8)
    assert 0.4 < row["bytes"] <= 0.8
    table = network.get_submodule(WORDS).weight
    assert any(torch.equal(table, each.rows) for each in tables[WORDS])
    with pytest.raises(ValueError, match="not reachable"):
        within(model, moments, curves, tables, 0.01)

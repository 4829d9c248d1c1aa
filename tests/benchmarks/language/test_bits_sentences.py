"""A tiny encoder in few bits: what is said of its plan."""

import pytest

import eckart
from benchmarks.language.bits_sentences import rows_of
from transformer_networks import bert, padded, token_ids

transformers = pytest.importorskip("transformers")


def test_widths_are_counted():
    rows = [token_ids(1, length)[0] for length in (5, 9, 12, 7)]
    moments = eckart.calibrate(bert(), [padded(rows[:2]), padded(rows[2:])], progress=False)
    curves = eckart.curves(bert(), moments, methods=("rounding",), bits=(4,), progress=False)
    found = rows_of(eckart.allocate(curves, eckart.Budget(bytes=0.8)), moments.model_costs["bytes"])
    assert found["bytes"] <= 0.8
    assert found["widths"] == {"4": 1}  # the table of places is half of the network

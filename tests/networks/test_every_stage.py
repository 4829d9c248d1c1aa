"""A dozen kinds of networks through every stage; ``python -m benchmarks zoo`` has all of them."""

from pathlib import Path

import pytest

from benchmarks.zoo.networks import NETWORKS
from benchmarks.zoo.notes import Notes
from benchmarks.zoo.walk import walk

KINDS = [
    "own/actor-critic",
    "own/dataclass",
    "own/data-dependent-calls",
    "own/encoder-batch-first",
    "own/expanded-buffer",
    "own/gated-shuffled",
    "own/lstm-packed",
    "own/never-called-head",
    "own/physics-informed",
    "own/sequence-to-sequence",
    "own/tied-weights",
    "own/wavenet",
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
def test_it_goes_through_every_stage_within_the_budget(name: str, tmp_path: Path):
    notes = Notes(tmp_path / "row.json")
    walk(NETWORKS[name], notes, export=False, seed=0)
    assert notes.row.get("reason") is None
    assert notes.row["kept"] <= 0.6
    assert "measure" in notes.row["seconds"]

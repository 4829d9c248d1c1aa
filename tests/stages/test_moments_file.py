"""Moments on disk: exact, and refused with a clear error when damaged."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from eckart import Moments, calibrate, curves
from eckart.errors import CheckpointError, MismatchError
from resealed import with_metadata, with_tensors
from stages.networks import Attention, SmallCnn, mlp


@pytest.fixture
def moments() -> Moments:
    return calibrate(Attention(), [torch.randn(3, 5, 6)])


@pytest.fixture
def saved(moments: Moments, tmp_path: Path) -> Path:
    path = tmp_path / "moments.safetensors"
    moments.save(path)
    return path


def test_moments_come_back_to_the_bit(moments: Moments, saved: Path):
    found = Moments.load(saved)
    for part in ("grams", "totals", "output_grams"):
        before, after = getattr(moments, part), getattr(found, part)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[k], after[k]) for k in before)
    for name in (
        "specs",
        "rows",
        "examples",
        "outputs",
        "batches",
        "metric",
        "skipped",
        "fingerprint",
        "spreads",
        "left_out",
    ):
        assert getattr(found, name) == getattr(moments, name)
    assert found.model_costs == moments.model_costs
    assert torch.equal(found.example, moments.example)
    assert str(found) == str(moments)


def test_loaded_moments_are_as_good_as_new(tmp_path: Path):
    model, batches = SmallCnn(), [torch.randn(4, 3, 9, 8)]
    moments = calibrate(model, batches)
    moments.save(tmp_path / "file")
    loaded = Moments.load(tmp_path / "file")
    assert curves(model, loaded).curves == curves(model, moments).curves


@pytest.mark.parametrize(
    "example",
    [
        torch.ones(1, 2),
        (torch.ones(1, 2), [torch.zeros(1, dtype=torch.int64), None]),
        {"x": torch.ones(1, 2, dtype=torch.bfloat16), "flag": True, "name": "a", "scale": 0.5},
    ],
    ids=["tensor", "nested", "dict"],
)
def test_every_form_of_example_comes_back(moments: Moments, tmp_path: Path, example: Any):
    replace(moments, example=example).save(tmp_path / "file")
    found = Moments.load(tmp_path / "file").example
    assert repr(found) == repr(example)


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"cannot read .*absent"):
        Moments.load(tmp_path / "absent")


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.3, 0.999])
def test_a_truncated_file_is_refused(saved: Path, fraction: float):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(CheckpointError, match="cannot read"):
        Moments.load(saved)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 100, b'{"format": 1}'])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot read"):
        Moments.load(tmp_path / "file")


@pytest.mark.parametrize("metadata", [None, {"format": "eckart.moments/4"}, {"format": "pt"}])
def test_safetensors_without_digests_are_refused(tmp_path: Path, metadata: Any):
    save_file({"weight": torch.ones(2)}, tmp_path / "file", metadata)
    with pytest.raises(CheckpointError, match=r"no digests, and its format is '\w+"):
        Moments.load(tmp_path / "file")


@pytest.mark.parametrize("format_", ["eckart.moments/5", "eckart.decomposition/2"])
def test_files_of_another_format_are_refused(saved: Path, format_: str):
    with_metadata(saved, lambda metadata: {**metadata, "format": format_})
    with pytest.raises(CheckpointError, match=r"but this version reads eckart.moments/8"):
        Moments.load(saved)


@pytest.mark.parametrize(
    "change",
    [
        lambda meta: "text",
        lambda meta: [],
        lambda meta: {**meta, "specs": 3},
        lambda meta: {**meta, "specs": []},
        lambda meta: {**meta, "specs": ["text"]},
        lambda meta: {**meta, "specs": [{**meta["specs"][0], "dense": []}]},
        lambda meta: {**meta, "specs": [{**meta["specs"][0], "input": "absent"}]},
        lambda meta: {**meta, "example": []},
        lambda meta: {**meta, "example": {"tensor": 99}},
        lambda meta: {**meta, "rows": {}},
        lambda meta: {k: v for k, v in meta.items() if k != "fingerprint"},
        lambda meta: {**meta, "surplus": 1},
        lambda meta: {**meta, "examples": -5},
        lambda meta: {**meta, "outputs": 0},
        lambda meta: {**meta, "batches": 1.5},
        lambda meta: {**meta, "rows": dict.fromkeys(meta["rows"], "many")},
        lambda meta: {**meta, "metric": ["logits"]},
        lambda meta: {**meta, "skipped": {"k": 3}},
        lambda meta: {**meta, "left_out": {"cache": 3}},
        lambda meta: {**meta, "spreads": {"": {"entries": -1}}},
        lambda meta: {**meta, "spreads": {"": {**meta["spreads"][""], "weight": 0.0}}},
        lambda meta: {**meta, "spreads": {"": {**meta["spreads"][""], "within": -1.0}}},
        lambda meta: {**meta, "spreads": {"": {**meta["spreads"][""], "squares": "many"}}},
        lambda meta: {**meta, "model_costs": {"params": "all"}},
        lambda meta: {**meta, "fingerprint": None},
        lambda meta: {**meta, "sample": {"value": 3}},
        lambda meta: {**meta, "specs": [{**meta["specs"][0], "sizes": [[-1]]}]},
        lambda meta: {**meta, "specs": [{**meta["specs"][0], "itemsize": "4"}]},
        lambda meta: {**meta, "specs": [{**meta["specs"][0], "name": 3}]},
    ],
)
def test_a_malformed_structure_is_refused(saved: Path, change: Any):
    def in_json(metadata: dict[str, str]) -> dict[str, str]:
        return {**metadata, "moments": json.dumps(change(json.loads(metadata["moments"])))}

    with_metadata(saved, in_json)
    with pytest.raises(CheckpointError, match=r"cannot read moments"):
        Moments.load(saved)


@pytest.mark.parametrize("name", ["gram/k", "diagonal/gram/k", "output/k", "total/k"])
def test_sums_of_another_shape_are_refused(saved: Path, name: str):
    eye = torch.eye(3, dtype=torch.float64)[None]
    with_tensors(saved, lambda tensors: {**tensors, name: eye})
    with pytest.raises(CheckpointError, match="do not fit its shapes"):
        Moments.load(saved)


def test_moments_of_another_network_or_metric_do_not_add_up():
    model, batches = mlp(4, 3, 2), [torch.randn(5, 4)]
    moments = calibrate(model, batches)
    with pytest.raises(MismatchError, match="different networks or metrics"):
        moments + calibrate(mlp(4, 3, 2), batches)
    with pytest.raises(MismatchError, match="different networks or metrics"):
        moments + calibrate(model, batches, metric="fisher")

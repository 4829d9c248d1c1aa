"""Many small tensors joined to one, and JSON squeezed: the way back, and what is refused."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from eckart.errors import CheckpointError
from eckart.storage.compact import Weights, expanded, joined, squeezed
from eckart.storage.tensors import opened_tensors, write_tensors

TENSORS = {
    "codes": torch.arange(7, dtype=torch.uint8),
    "scale": torch.randn(3, 1).half(),
    "mean": torch.randn(5, dtype=torch.float64),
    "count": torch.tensor(3),
    "flags": torch.tensor([True, False]),
    "none": torch.empty(0, 4),
    "turned": torch.randn(2, 3).mT,
}


def test_joined_tensors_come_back_as_they_were(tmp_path: Path):
    write_tensors(tmp_path / "joined", *joined(TENSORS))
    with opened_tensors(tmp_path / "joined") as file:
        weights = Weights.of(file)
        weights.check()
        found = weights.mapped()
    assert weights.outlines == {n: (tuple(t.shape), t.dtype) for n, t in TENSORS.items()}
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


def test_names_and_shapes_take_little(tmp_path: Path):
    many = {f"layer{k}.0.weight": torch.ones(10) for k in range(200)}
    write_tensors(tmp_path / "plain", many, {})
    write_tensors(tmp_path / "joined", *joined(many))
    plain, small = ((tmp_path / name).stat().st_size - 8000 for name in ("plain", "joined"))
    assert plain > 30_000
    assert small < 1_300


def test_nothing_is_joined_too(tmp_path: Path):
    write_tensors(tmp_path / "joined", *joined({}))
    with opened_tensors(tmp_path / "joined") as file:
        assert Weights.of(file).mapped() == {}


def changed(layout: Any) -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors, metadata = joined(TENSORS)
    return tensors, {**metadata, "eckart.layout": layout}


ONE = ["codes", "U8", [7]]


@pytest.mark.parametrize(
    "layout",
    [
        "",
        "no base 85 \x00",
        base64.b85encode(b"no zlib").decode(),
        base64.b85encode(zlib.compress(b"[]")[:-3]).decode(),
        base64.b85encode(zlib.compress(b"{")).decode(),
        *map(
            squeezed,
            [
                [],
                [ONE],
                {"codes": 1},
                [["codes", "U8", [94]], ["codes", "U8", [0]]],
                [["codes", "U9", [94]]],
                [["codes", "U8", [-94]]],
                [["codes", "U8", [94.0]]],
                [["codes", "U8", [True, 94]]],
                [[5, "U8", [94]]],
                [["codes", "U8", [2**62, 2**62]]],
                [["codes", "U8", [1] * 65]],
                [["codes", "U8", [2]], ["mean", "F32", [23]]],
            ],
        ),
    ],
)
def test_a_layout_that_does_not_fit_is_refused(tmp_path: Path, layout: str):
    write_tensors(tmp_path / "joined", *changed(layout))
    with (
        opened_tensors(tmp_path / "joined") as file,
        pytest.raises(CheckpointError, match="joined"),
    ):
        Weights.of(file)


def test_a_bomb_is_not_inflated(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("eckart.storage.compact.MAX_JSON_BYTES", 1000)
    with pytest.raises(CheckpointError, match="too long"):
        expanded(squeezed([0] * 1000))
    assert expanded(squeezed([0] * 100)) == [0] * 100


def test_squeezed_text_needs_no_escapes():
    text = squeezed({"a": list(range(300))})
    assert json.dumps(text) == f'"{text}"'

"""The README's table from networks to rows, on one network that takes no time."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import eckart
from benchmarks.side_by_side import readme
from benchmarks.side_by_side.subject import Subject, hits
from benchmarks.tables.readme import _short

pytest.importorskip("onnxruntime", reason="needs onnxruntime to run the files")


def subject(data: Path | None = None) -> Subject:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 5)).eval()
    images = torch.randn(60, 16)
    return Subject(
        name="tiny",
        title="Tiny",
        unit="%",
        inputs="4 vectors",
        load=lambda: model,
        batches=[images],
        example=images[:4],
        judge=hits((images, model(images).argmax(1))),
        budgets={"bytes=0.3": eckart.Budget(bytes=0.3)},
        peer="dynamic",
    )


def test_files_are_scored_once_and_timed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(readme.NETWORKS, "tiny", subject)
    output, cache = tmp_path / "readme.json", tmp_path / "cache"
    readme.measure(output, networks=["tiny"], cache=cache, seconds=0)
    first = {row["variant"]: row for row in json.loads(output.read_text())}
    assert list(first) == ["dense", "peer", "bytes=0.3"]
    assert first["dense"]["score"] == 100
    assert first["bytes=0.3"]["score"] > 80
    assert first["bytes=0.3"]["torch_ms"] > 0
    assert first["bytes=0.3"]["torch_bytes"] > 0
    assert "torch_ms" not in first["peer"]

    rows = [row | {"score": -1.0, "ort_ms": -1.0} for row in first.values()]
    output.write_text(json.dumps(rows))
    readme.measure(output, networks=["tiny"], cache=cache, seconds=0)
    again = json.loads(output.read_text())
    assert [row["score"] for row in again] == [-1.0] * 3
    assert all(row["ort_ms"] > 0 for row in again)


def test_numbers_have_three_digits():
    assert [_short(x) for x in (0.10449, 1.098, 61.53, 541.2)] == ["0.104", "1.1", "61.5", "541"]

"""Measurements on networks of images, from the files to the rows, on a few images of noise."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.factorisation_kit import shapes
from benchmarks.main_path import frontier
from benchmarks.subjects import data
from benchmarks.subjects.networks import CifarResNet

COUNT = 24


@pytest.fixture
def noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with images of noise and an untrained ResNet-8."""
    monkeypatch.setattr(data, "CACHE", tmp_path / "cache")
    generator = np.random.default_rng(0)
    for folder in ("cifar10", "cifar10_resnet"):
        (tmp_path / folder).mkdir()
    for split in ("train", "test"):
        images = [encoded(generator.integers(0, 256, (32, 32, 3), np.uint8)) for _ in range(COUNT)]
        table = pyarrow.table({"img": images, "label": [i % 10 for i in range(COUNT)]})
        pyarrow.parquet.write_table(table, tmp_path / "cifar10" / f"{split}-0.parquet")
    torch.manual_seed(0)
    save_file(CifarResNet(8).state_dict(), tmp_path / "cifar10_resnet" / "resnet8.safetensors")
    return tmp_path


def encoded(pixels: np.ndarray) -> dict[str, bytes]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return {"bytes": buffer.getvalue()}


def test_what_is_asked_again_takes_the_place_of_its_old_row(noise: Path):
    output, methods = noise / "frontier.json", ["svd_uniform", "ours_low_rank"]
    small = {"networks": ["resnet8"], "keep": [0.5], "calibration": COUNT}
    frontier.measure(output, noise, methods=methods, **small)
    first = json.loads(output.read_text())
    assert [row["method"] for row in first] == methods
    assert all(0.4 < row["params"] <= 0.5 for row in first)
    assert {row["images"] for row in first} == {COUNT}
    frontier.measure(output, noise, methods=methods[:1], **small)
    again = json.loads(output.read_text())
    assert [row["method"] for row in again] == methods[::-1]
    fixed = ("params", "macs", "accuracy")
    assert [again[1][name] for name in fixed] == [first[0][name] for name in fixed]


def test_methods_that_are_offered_are_those_that_are_chosen(noise: Path):
    output = noise / "shapes.json"
    shapes.measure(output, noise, network="resnet8", offered=["low rank"])
    rows = json.loads(output.read_text())
    assert [(row["metric"], row["keep"]) for row in rows] == shapes.BUDGETS
    assert {method for row in rows for method in row["chosen"]} <= {"weighted_svd", "dense"}

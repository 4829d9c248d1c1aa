"""The readers on files made here, and the published figures where the real data is at hand."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.subjects import data
from benchmarks.subjects.scoring import accuracy
from benchmarks.subjects.trained import load_resnet
from parquet_files import LABELS, write_parquet

PIXELS = np.arange(5 * 28 * 28, dtype=np.uint8).reshape(5, 28, 28)


def idx(values: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()


def test_idx_plain_or_gzipped(tmp_path: Path):
    folder = tmp_path / "fashion"
    folder.mkdir()
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(PIXELS)))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS))
    images, labels = data.fashion_mnist(tmp_path, "test")
    assert torch.equal(images, torch.from_numpy(PIXELS)[:, None] / 255)
    assert labels.tolist() == LABELS.tolist()


def test_mnist_is_read_once_and_again_when_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(data, "CACHE", tmp_path / "cache")
    write_parquet(tmp_path / "mnist" / "data", "image", PIXELS)
    for _ in range(2):
        images, labels = data.mnist(tmp_path)
        assert torch.equal(images, torch.from_numpy(PIXELS)[:, None] / 255)
        assert labels.tolist() == LABELS.tolist()
    assert len(list((tmp_path / "cache").iterdir())) == 1
    write_parquet(tmp_path / "mnist" / "data", "image", PIXELS[:3])
    assert len(data.mnist(tmp_path)[0]) == 3


def test_cifar_is_normalised_by_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(data, "CACHE", tmp_path / "cache")
    pixels = np.full((2, 32, 32, 3), 255, dtype=np.uint8)
    write_parquet(tmp_path / "cifar10", "img", pixels)
    images, _ = data.cifar10(tmp_path, "train")
    white = [(1 - m) / s for m, s in zip(data.CIFAR_MEAN, data.CIFAR_STD, strict=True)]
    assert images.shape == (2, 3, 32, 32)
    assert images[0, :, 5, 7].tolist() == pytest.approx(white)
    assert torch.equal(data.cifar10(tmp_path, "train", 1)[0], images[:1])


def test_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ECKART_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="ECKART_DATA"):
        data.mnist()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        data.mnist(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"train-\*\.parquet"):
        data.mnist(tmp_path)
    with pytest.raises(ValueError, match="validation"):
        data.mnist(tmp_path, "validation")


def test_resnet20_reaches_its_published_accuracy(data_root: Path):
    images, labels = data.cifar10(data_root, "test", 1000)
    assert accuracy(load_resnet(data_root, 20), images, labels) > 0.905

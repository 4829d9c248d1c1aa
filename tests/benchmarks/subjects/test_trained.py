"""A trained network is read again only if everything that made it is the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.subjects import data, trained
from parquet_files import write_parquet

PIXELS = np.arange(5 * 28 * 28, dtype=np.uint8).reshape(5, 28, 28)


class WithRelus(trained.LeNet5):
    """The same layers, another order of operations: only the code tells them apart."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.max_pool2d(self.conv1(x), 2).relu()
        x = torch.max_pool2d(self.conv2(x), 2).relu()
        return self.fc2(self.fc1(x.flatten(1)).relu())


def test_the_cache_is_keyed_by_network_data_and_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    root, cache = tmp_path / "data", tmp_path / "cache"
    monkeypatch.setattr(data, "CACHE", tmp_path / "decoded")
    write_parquet(root / "mnist" / "data", "image", PIXELS)

    def weights(seed: int = 0) -> Tensor:
        return trained.trained_lenet(root, seed, cache).fc2.weight.detach()

    first = weights()
    assert torch.equal(weights(), first)
    assert len(list(cache.iterdir())) == 1
    weights(seed=1)
    monkeypatch.setattr(trained, "LeNet5", WithRelus)
    assert not torch.equal(weights(), first)
    write_parquet(root / "mnist" / "data", "image", PIXELS[:3])
    weights()
    schooling = trained.Schooling
    monkeypatch.setattr(trained, "Schooling", lambda epochs, rate: schooling(1, rate))
    weights()
    assert len(list(cache.iterdir())) == 5

"""A block that stands in a network under two names is compressed once, and stays one block."""

from pathlib import Path

import pytest
import torch
from torch import nn

from eckart import calibrate, compress, load, merge, save

X = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))


def shared() -> nn.Module:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(16, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 16))
    return nn.Sequential(nn.Linear(8, 16), block, nn.ReLU(), block, nn.Linear(16, 4)).eval()


@pytest.mark.parametrize("methods", ["auto", ["weighted_svd"], ["pivoted_svd"]])
def test_a_shared_block_goes_the_whole_way(methods: str | list[str], tmp_path: Path):
    network = shared()
    moments = calibrate(network, [X])
    assert moments.skipped == {}
    assert len(moments.specs["1.0"].sizes) == 2
    found = compress(network, moments, keep=0.5, methods=methods, latency=False)
    smaller = found.model
    assert smaller[1] is smaller[3]
    assert sum(p.numel() for p in smaller.parameters()) == found.plan.costs["params"]
    save(smaller, tmp_path)
    loaded = load(shared(), tmp_path)
    assert loaded[1] is loaded[3]
    assert torch.equal(loaded(X), smaller(X))
    torch.testing.assert_close(merge(loaded)(X), smaller(X), rtol=1e-4, atol=1e-5)

"""A network with group norms loses whole groups of channels, and is saved and loaded."""

from pathlib import Path

import torch
from torch import nn

import eckart


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(2, 16, 3), nn.GroupNorm(8, 16), nn.ReLU()),
        *(nn.Conv2d(16, 12, 3), nn.GroupNorm(3, 12), nn.ReLU()),
        *(nn.Conv2d(12, 4, 3), nn.Flatten(), nn.Linear(16, 3)),
    ).eval()


def test_whole_groups_are_removed_saved_and_loaded(tmp_path: Path):
    x = torch.randn(64, 2, 8, 8)
    smaller = eckart.compress(
        network(), [x], keep=0.6, methods=["backward_elimination"], progress=False
    ).model
    norms = [smaller[1], smaller[4]]
    assert sum(norm.num_channels for norm in norms) < 28
    assert [n.num_channels // n.num_groups for n in norms] == [2, 4]
    eckart.save(smaller, tmp_path)
    loaded = eckart.load(network(), tmp_path).eval()
    assert torch.equal(loaded(x), smaller(x))
    assert [n.num_groups for n in (loaded[1], loaded[4])] == [n.num_groups for n in norms]

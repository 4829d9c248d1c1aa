"""Networks that concatenate: a layer may read some of a group's units, and others none of them."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import eckart


class UNet(nn.Module):
    """Two scales; the decoder reads the encoder's channels beside its own."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 12, 3, padding=1)
        self.down = nn.Conv2d(12, 16, 3, stride=2, padding=1)
        self.deep = nn.Conv2d(16, 16, 3, padding=1)
        self.up = nn.Conv2d(28, 12, 3, padding=1)
        self.leave = nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = F.relu(self.enter(x))
        deep = F.relu(self.deep(F.relu(self.down(wide))))
        both = torch.cat([F.interpolate(deep, scale_factor=2.0), wide], 1)
        return self.leave(F.relu(self.up(both)))


class Dense(nn.Module):
    """A small DenseNet: every layer reads all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 8, 3, padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(8 + 6 * i, 6, 3, padding=1) for i in range(3))
        self.leave = nn.Linear(26, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for layer in self.layers:
            x = torch.cat([x, F.relu(layer(F.relu(x)))], 1)
        return self.leave(x.mean((2, 3)))


class Inception(nn.Module):
    """Two branches with a norm each: every channel that the next layer reads is in one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 6, 3, padding=1)
        self.one, self.other = nn.Conv2d(6, 24, 1), nn.Conv2d(6, 24, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(24) for _ in range(2))
        self.leave = nn.Conv2d(48, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.enter(x))
        branches = [self.norms[0](self.one(x)), self.norms[1](self.other(x))]
        return self.leave(F.relu(torch.cat(branches, 1)))


@pytest.mark.parametrize("make", [UNet, Dense, Inception])
def test_the_default_methods_go_through(make: type[nn.Module]):
    torch.manual_seed(0)
    network, x = make().eval(), torch.randn(8, 3, 16, 16)
    found = eckart.compress(network, [x], keep=0.5, metric="logits")
    made = [(0.5, found.plan, found.model)]
    for keep in (0.8, 0.3):
        plan = eckart.allocate(found.curves, eckart.Budget(params=keep))
        made.append((keep, plan, eckart.apply(network, plan, found.moments)))
    for keep, plan, smaller in made:
        params = sum(p.numel() for p in smaller.parameters())
        assert params == plan.costs["params"] <= keep * plan.totals["params"]
        assert smaller(x).shape == network(x).shape
        assert torch.isfinite(smaller(x)).all()

"""The residual network of fully connected layers, and the ways to make it smaller."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor, nn

import eckart
from study_kit.images import Images

KINDS = ("SVD", "A and G, the same rank", "eckart")


class Residual(nn.Module):
    """relu(x + W₂ relu(W₁ x + b₁) + b₂)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.second(self.first(x).relu())).relu()


def network(width: int = 1000, inputs: int = 3072) -> nn.Module:
    """7,087,010 parameters in six layers; gives log-probabilities."""
    inner = (nn.ReLU(), Residual(width), Residual(width))
    ends = nn.Linear(inputs, width), nn.Linear(width, 10)
    return nn.Sequential(nn.Flatten(), ends[0], *inner, ends[1], nn.LogSoftmax(dim=1))


class Smaller:
    """Three ways to make the dense network as small as its SVD of a given rank."""

    def __init__(self, dense: nn.Module, train: Images) -> None:
        self.dense, self.train = dense, train
        self.size = sum(parameter.numel() for parameter in dense.parameters())

    @cached_property
    def moments(self) -> eckart.Moments:
        metric = eckart.Logits(class_dim=1)
        return eckart.calibrate(self.dense, self.train.first(5000), metric=metric, progress=False)

    @cached_property
    def options(self) -> eckart.Curves:
        return eckart.curves(self.dense, self.moments, progress=False)

    def make(self, kind: str, rank: int) -> nn.Module:
        """All six layers at this rank; one that would become larger stays a matrix."""
        if kind == KINDS[1]:
            return eckart.factorize(self.dense, rank, init="weighted", moments=self.moments)
        same = eckart.factorize(self.dense, rank)
        if kind == KINDS[0]:
            return same
        size = sum(parameter.numel() for parameter in same.parameters())
        plan = eckart.allocate(self.options, eckart.Budget(params=size))
        return eckart.apply(self.dense, plan, self.moments)

    def literal(self, rank: int) -> nn.Module:
        """Factors in all six layers, larger or not."""
        layers = {n: m for n, m in self.dense.named_modules() if isinstance(m, nn.Linear)}
        ranks = {name: min(rank, *layer.weight.shape) for name, layer in layers.items()}
        return eckart.factorize(self.dense, ranks)

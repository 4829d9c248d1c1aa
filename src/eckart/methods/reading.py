"""How a layer reads a group's channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from eckart.linalg import Reader
from eckart.methods.problem import Problem
from eckart.records import ChannelGroup


@dataclass(frozen=True)
class Reading:
    """A layer that reads a group's channels, and the columns of its matrix for each unit."""

    problem: Problem
    columns: tuple[Int64[Tensor, " _columns"], ...]

    @property
    def reader(self) -> Reader:
        """The quadratic form of the layer's loss."""
        lifted = self.problem.lift[0].mT @ self.problem.weight[0]
        return Reader(self.problem.a[0], lifted, self.columns)


def reading_of(problem: Problem, group: ChannelGroup, layer: str) -> Reading:
    """How a layer reads a group."""
    units, block = group.readers[layer], _block(problem)
    every = [channel for unit in units for channel in unit]
    columns = _expanded(every, block).to(problem.weight.device)
    return Reading(problem, columns.split([len(unit) * block for unit in units]))


def _block(problem: Problem) -> int:
    """Columns of the matrix per input channel."""
    return problem.weight.shape[2] * problem.piece.groups // problem.piece.inputs


def _expanded(channels: Sequence[int], block: int) -> Int64[Tensor, " columns"]:
    starts = torch.tensor(list(channels), dtype=torch.int64)
    return (starts[:, None] * block + torch.arange(block)).flatten()

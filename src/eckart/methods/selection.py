"""Fewer channels: which ones to keep so that the layers that read them lose the least."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from torch import Tensor

from eckart.linalg import (
    Removals,
    backward_removals,
    factor,
    group_lasso_path,
    nested_removal_losses,
)
from eckart.methods.reading import Reading


@runtime_checkable
class Selection(Protocol):
    """A way to rank the units of a channel group."""

    @property
    def name(self) -> str:
        """Name in the registry."""

    def order(self, readings: Sequence[Reading]) -> list[int]:
        """All units, the one to keep longest first."""


@runtime_checkable
class Weighing(Selection, Protocol):
    """A selection that knows the losses of its order, so that nobody computes them again."""

    def removals(self, readings: Sequence[Reading]) -> Removals:
        """The order, with the loss of keeping its first units and refitting."""


@final
@dataclass(frozen=True)
class Ranking:
    """A selection by a function of the readings."""

    name: str
    rank: Callable[[Sequence[Reading]], list[int]]

    def order(self, readings: Sequence[Reading]) -> list[int]:
        """All units, the one to keep longest first."""
        return self.rank(readings)


@final
@dataclass(frozen=True)
class Elimination:
    """Second-order backward elimination: each step removes the unit of least refitted loss."""

    name: str = "backward_elimination"

    def order(self, readings: Sequence[Reading]) -> list[int]:
        """All units, the one to keep longest first."""
        return self.removals(readings).order

    def removals(self, readings: Sequence[Reading]) -> Removals:
        """The order with its losses, which the search has found on its way."""
        return backward_removals([reading.reader for reading in readings])


def removals(selection: Selection, readings: Sequence[Reading]) -> Removals:
    """The order of a selection, with the loss of keeping its first units and refitting."""
    if isinstance(selection, Weighing):
        return selection.removals(readings)
    order = selection.order(readings)
    return Removals(order, nested_removal_losses([each.reader for each in readings], order))


def lasso_path(readings: Sequence[Reading]) -> list[int]:
    """Units in the order in which they enter the path of the group lasso on ``G^½ M``.

    Minimises ``½ tr((G^½ W - M̃) A (G^½ W - M̃)ᵀ) + λ Σⱼ ‖M̃[:, j]‖`` for falling λ. The norm of a
    unit is taken over all layers that read it. Units that never enter come last, largest norm
    first.
    """
    problems = [reading.problem for reading in readings]
    targets = [factor(p.g[0]).mT @ p.weight[0] for p in problems]
    path = group_lasso_path(
        [p.a[0] for p in problems],
        [target @ p.a[0] for target, p in zip(targets, problems, strict=True)],
        groups=[[at.tolist() for at in reading.columns] for reading in readings],
        unpenalised=[_free(reading) for reading in readings],
        alpha_min_ratio=1e-3,
        tol=1e-4,
    )
    entered = [unit for result in path.results for unit in result.support.tolist()]
    return list(dict.fromkeys([*entered, *largest_norm(readings)]))


def largest_norm(readings: Sequence[Reading]) -> list[int]:
    """Units by the norm of the columns that read them, largest first.

    AIMET's channel pruning ranks them in the same way.
    """
    energy = sum(_energies(reading) for reading in readings)
    return torch.as_tensor(energy).argsort(descending=True, stable=True).tolist()


def _free(reading: Reading) -> list[int]:
    """Columns that belong to no unit."""
    taken = set(torch.cat(reading.columns).tolist())
    return [column for column in range(reading.problem.weight.shape[2]) if column not in taken]


def _energies(reading: Reading) -> Tensor:
    squared = reading.problem.weight[0].square().sum(0)
    return torch.stack([squared[unit].sum() for unit in reading.columns])

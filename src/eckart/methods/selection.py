"""Fewer channels: which ones to keep, so that the layers that read them lose least."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from eckart.layers import narrowed_piece
from eckart.linalg import Reader, backward_elimination, factor, group_lasso_path, refit
from eckart.methods.problem import Problem
from eckart.records import ChannelGroup


@dataclass(frozen=True)
class Reading:
    """A layer that reads a group's channels, and the columns of its matrix that each unit is."""

    problem: Problem
    columns: tuple[Int64[Tensor, " _columns"], ...]

    @property
    def reader(self) -> Reader:
        """The quadratic form of its loss."""
        weight = self.problem.weight[0]
        return Reader(self.problem.a[0], weight.mT @ self.problem.g[0] @ weight, self.columns)


@runtime_checkable
class Selection(Protocol):
    """A way to rank the units of a channel group."""

    @property
    def name(self) -> str:
        """Name in the registry."""

    def order(self, readings: Sequence[Reading]) -> list[int]:
        """All units, the one to keep longest first."""


@final
@dataclass(frozen=True)
class Ranking:
    """A selection by a function of the readings."""

    name: str
    rank: Callable[[Sequence[Reading]], list[int]]

    def order(self, readings: Sequence[Reading]) -> list[int]:
        """All units, the one to keep longest first."""
        return self.rank(readings)


def eliminated(readings: Sequence[Reading]) -> list[int]:
    """Second-order backward elimination: the unit goes whose loss after a refit is least."""
    return backward_elimination([reading.reader for reading in readings])


def lasso_path(readings: Sequence[Reading]) -> list[int]:
    """Units in the order in which they enter the path of the group lasso on ``G^½ M``.

    Minimises ``½ tr((G^½ W - M̃) A (G^½ W - M̃)ᵀ) + λ Σⱼ ‖M̃[:, j]‖`` for falling λ, the norm of a
    unit taken over all layers that read it; those that never enter come last, largest norm first.
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
    """Largest norm of the columns that read a unit first, as AIMET's channel pruning ranks them."""
    energy = sum(_energies(reading) for reading in readings)
    return torch.as_tensor(energy).argsort(descending=True, stable=True).tolist()


def reading_of(problem: Problem, group: ChannelGroup, layer: str) -> Reading:
    """How a layer reads a group."""
    block = _block(problem)
    device = problem.weight.device
    return Reading(
        problem,
        tuple(_expanded(unit, block).to(device) for unit in group.readers[layer]),
    )


@dataclass(frozen=True)
class Heirs:
    """Output channels of a layer that stay, and what they take over from all of them.

    Attributes:
        rows: the channels that stay, ascending.
        share: identity on those; for the others, their least-squares estimate from those.
    """

    rows: tuple[int, ...]
    share: Float64[Tensor, "out kept"]


def heirs(
    group: ChannelGroup, layer: str, readings: Sequence[Reading], kept: Sequence[int], width: int
) -> Heirs:
    """Which outputs of a writer stay, and how far the refitted readers rest on each of them.

    A removed channel is estimated from those that stay by their second moments at the readers,
    summed over taps and positions, as if what lies between writer and readers were linear.
    """
    rows = group.rows_left(layer, kept, width)
    estimates = _estimates(readings, group.size, kept)
    share = estimates.new_zeros(width, len(rows))
    gone = sorted(set(range(group.size)) - set(kept))
    if len({len(unit) for unit in group.writers[layer]}) == 1:
        for of in torch.tensor(group.writers[layer]).T:  # the first channel of all units, the next
            into = torch.searchsorted(torch.tensor(rows, dtype=torch.int64), of[list(kept)])
            share[of[gone][:, None], into] = estimates[gone]
    share[torch.tensor(rows, dtype=torch.int64), torch.arange(len(rows))] = 1.0
    return Heirs(tuple(rows), share)


def narrowed_problem(
    problem: Problem, outputs: Heirs | None, columns: Sequence[int] | None
) -> Problem:
    """The problem left when only these outputs and inputs stay, the weight refitted to them.

    The loss of a form of it adds to the loss of the removal: the refit's error is uncorrelated,
    under A, with everything that reads the kept inputs. Gradients of removed outputs count at
    their heirs, since that is where the refitted readers take them from.
    """
    if outputs is None and columns is None:
        return problem
    weight, a, g = problem.weight[0], problem.a[0], problem.g[0]
    if columns is not None:
        at = _expanded(columns, _block(problem)).to(weight.device)
        weight, a = refit(weight, a, at), a[at][:, at]
    if outputs is not None:
        weight, g = weight[list(outputs.rows)], outputs.share.mT @ g @ outputs.share
    left = None if outputs is None else len(outputs.rows)
    piece = narrowed_piece(problem.piece, left, None if columns is None else len(columns))
    return Problem(piece, weight[None], a[None], g[None], narrowed=True)


def _estimates(
    readings: Sequence[Reading], units: int, kept: Sequence[int]
) -> Float64[Tensor, "units kept"]:
    """Coefficients of the least-squares estimate of every unit from those kept."""
    device = readings[0].problem.weight.device
    moment = torch.zeros(units, units, dtype=torch.float64, device=device)
    for reading in readings:
        if len({len(at) for at in reading.columns}) == 1:  # else no column answers to another
            for at in torch.stack(reading.columns, 1):
                moment += reading.problem.a[0][at][:, at]
    own = torch.tensor(list(kept), dtype=torch.int64, device=device)
    if not moment.any():
        return torch.zeros(units, len(own), dtype=torch.float64, device=device)
    estimates: Tensor = torch.linalg.solve(moment[own][:, own], moment[own])
    return estimates.mT


def _block(problem: Problem) -> int:
    """Columns of the matrix per input channel."""
    return problem.weight.shape[2] * problem.piece.groups // problem.piece.inputs


def _expanded(channels: Sequence[int], block: int) -> Int64[Tensor, " columns"]:
    starts = torch.tensor(list(channels), dtype=torch.int64)
    return (starts[:, None] * block + torch.arange(block)).flatten()


def _free(reading: Reading) -> list[int]:
    """Columns that no unit has."""
    taken = set(torch.cat(reading.columns).tolist())
    return [column for column in range(reading.problem.weight.shape[2]) if column not in taken]


def _energies(reading: Reading) -> Tensor:
    squared = reading.problem.weight[0].square().sum(0)
    return torch.stack([squared[unit].sum() for unit in reading.columns])

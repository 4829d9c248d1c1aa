"""The problem that is left of a layer when channels around it go."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from eckart.layers import narrowed_piece
from eckart.linalg import refit
from eckart.methods.problem import Problem
from eckart.methods.reading import Reading, _block, _expanded
from eckart.records import ChannelGroup


@final
class Heirs:
    """Output channels of a layer that stay, and what they take over from all of them.

    Attributes:
        rows: the channels that stay, ascending.
        share: identity on those; for the others, their least-squares estimate from those.
    """

    def __init__(
        self, rows: Sequence[int], share: Callable[[], Float64[Tensor, "out kept"]]
    ) -> None:
        self.rows, self._share = tuple(rows), share

    @cached_property
    def share(self) -> Float64[Tensor, "out kept"]:
        return self._share()


def heirs(
    group: ChannelGroup,
    layer: str,
    readings: Sequence[Reading],
    kept: Sequence[int],
    width: int,
) -> Heirs:
    """Which outputs of a writer stay, and how far the refitted readers rest on each of them.

    A removed channel is estimated from those that stay by their second moments at the readers,
    summed over taps and positions, as if what lies between writer and readers were linear.

    Args:
        group: the channels.
        layer: one of its writers or followers.
        readings: how every reader of the group does; their moments are asked for when the shares
            are.
        kept: units that stay.
        width: outputs of the layer.
    """
    rows = group.rows_left(layer, kept, width)

    def share() -> Float64[Tensor, "out kept"]:
        estimates = _estimates(readings, group.size, kept)
        found = estimates.new_zeros(width, len(rows))
        gone = sorted(set(range(group.size)) - set(kept))
        if len({len(unit) for unit in group.writers[layer]}) == 1:
            for of in torch.tensor(group.writers[layer]).T:  # the first channel of all, the next
                into = torch.searchsorted(torch.tensor(rows, dtype=torch.int64), of[list(kept)])
                found[of[gone][:, None], into] = estimates[gone]
        found[torch.tensor(rows, dtype=torch.int64), torch.arange(len(rows))] = 1.0
        return found

    return Heirs(rows, share)


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
    left = None if outputs is None else len(outputs.rows)
    piece = narrowed_piece(problem.piece, left, None if columns is None else len(columns))
    return Problem(
        piece,
        lambda: _weight(problem, outputs, columns),
        lambda: _inputs(problem, columns),
        lambda: _outputs(problem, outputs),
        dtype=problem.dtype,
        title=problem.title and f"{problem.title} of {_digest(outputs, columns)}",
        narrowed=True,
    )


def _weight(problem: Problem, outputs: Heirs | None, columns: Sequence[int] | None) -> Tensor:
    weight = problem.weight[0]
    if columns is not None:
        weight = refit(weight, problem.a[0], _at(problem, columns))
    return weight[None] if outputs is None else weight[list(outputs.rows)][None]


def _inputs(problem: Problem, columns: Sequence[int] | None) -> Tensor:
    if columns is None:
        return problem.a
    at = _at(problem, columns)
    return problem.a[0][at][:, at][None]


def _outputs(problem: Problem, outputs: Heirs | None) -> Tensor:
    if outputs is None:
        return problem.g
    return (outputs.share.mT @ problem.g[0] @ outputs.share)[None]


def _at(problem: Problem, columns: Sequence[int]) -> Int64[Tensor, " columns"]:
    """Columns of the matrix that some input channels are."""
    return _expanded(columns, _block(problem)).to(problem.weight.device)


def _digest(outputs: Heirs | None, columns: Sequence[int] | None) -> str:
    """A short hash of which channels stay."""
    stays = (None if outputs is None else outputs.rows, columns and list(columns))
    return hashlib.sha256(repr(stays).encode()).hexdigest()[:16]


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

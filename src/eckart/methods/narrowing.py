"""The problem that is left of a layer when channels around it go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from eckart.layers import narrowed_piece
from eckart.linalg import refit
from eckart.methods.problem import Problem
from eckart.methods.reading import Reading, _block, _expanded
from eckart.records import ChannelGroup


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

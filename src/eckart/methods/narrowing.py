"""The problem that remains of a layer when channels around it are removed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from eckart.layers import narrowed_piece
from eckart.linalg import factor, refit
from eckart.methods.problem import Known, Problem
from eckart.methods.reading import Reading, _block, _expanded
from eckart.records import ChannelGroup
from eckart.records.channels import Units


@final
class Heirs:
    """The output channels of a layer that stay, and how they replace the others.

    Attributes:
        rows: the channels that stay, ascending.
        share: the identity for channels that stay; for a removed channel, the coefficients of its
            least-squares estimate from those that stay.
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
    moment: Callable[[], Float64[Tensor, "units units"]],
    kept: Sequence[int],
    width: int,
) -> Heirs:
    """Which outputs of a writer stay, and how much the refitted readers rely on each of them.

    A removed channel is estimated from those that stay. The estimate uses the second moments at the
    readers, summed over taps and positions, as if everything between the writer and its readers
    were linear.

    Args:
        group: the channels.
        layer: one of its writers or followers.
        moment: ``unit_moment`` of the group; asked for when ``share`` is used.
        kept: the units that stay.
        width: number of outputs of the layer.
    """
    rows = group.rows_left(layer, kept, width)

    def share() -> Float64[Tensor, "out kept"]:
        found = torch.zeros(width, len(rows), dtype=torch.float64)
        units = {**group.writers, **group.followers}[layer]
        if _paired(group, units):
            estimates = _estimates(moment(), kept)
            found = found.to(estimates.device)
            gone = sorted(set(range(group.size)) - set(kept))
            for of in torch.tensor(units).T:  # all first channels, then all second
                into = torch.searchsorted(torch.tensor(rows, dtype=torch.int64), of[list(kept)])
                found[of[gone][:, None], into] = estimates[gone]
        found[torch.tensor(rows, dtype=torch.int64), torch.arange(len(rows))] = 1.0
        return found

    return Heirs(rows, share)


def _paired(group: ChannelGroup, units: Units) -> bool:
    """Whether a channel of one unit stands for the same as that of another.

    The units of one layer are equally large then, and one channel on one side: the channels of a
    head, or of a group of a norm, have no partners in the next.
    """
    single = all(len(unit) == 1 for unit in units)
    alone = all(len(unit) == 1 for read in group.readers.values() for unit in read)
    return (single or alone) and len({len(unit) for unit in units}) == 1


def narrowed_problem(
    problem: Problem,
    outputs: Heirs | None,
    columns: Sequence[int] | None,
    *,
    alike: Problem | None = None,
) -> Problem:
    """The problem that remains when only these outputs and inputs stay; its weight is refitted.

    The loss of one of its forms adds to the loss of the removal, because under A the refit's error
    is uncorrelated with everything that reads the kept inputs. Gradients of removed outputs count
    at the outputs that replace them, because the refitted readers take them from there. A depthwise
    convolution loses the inputs of the outputs that go, and is not refitted.

    Products such as ``W A`` are parts of the larger problem's, because ``W' A[S, S] = W A[:, S]``
    for the refit W'. So nothing is as much work as at full width.

    Args:
        problem: the layer.
        outputs: those that stay; None for all.
        columns: the inputs that stay; None for all.
        alike: a problem of the same outputs, whose G is this one's too.
    """
    if outputs is None and columns is None:
        return problem
    left = None if outputs is None else len(outputs.rows)
    piece = narrowed_piece(problem.piece, left, None if columns is None else len(columns))
    return Problem(
        piece,
        lambda: _weight(problem, outputs, columns),
        lambda: _inputs(problem, outputs, columns),
        lambda: _outputs(problem, outputs) if alike is None else alike.g,
        dtype=problem.dtype,
        title=problem.title and f"{problem.title} of {_digest(outputs, columns)}",
        narrowed=True,
        known=_known(problem, outputs, columns, alike),
    )


def _known(
    problem: Problem,
    outputs: Heirs | None,
    columns: Sequence[int] | None,
    alike: Problem | None,
) -> Known:
    """What follows from the larger problem; nothing of a depthwise convolution, which is small."""
    if problem.piece.is_depthwise:
        return Known()
    if columns is None:

        def half() -> Tensor:
            return _among(problem.output_moment, problem, outputs)

        return Known(
            seen=lambda: _among(problem.seen, problem, outputs),
            output_moment=lambda: _among(half().mT, problem, outputs),
            innovations=lambda: _among(problem.innovations, problem, outputs),
            lift=None if alike is None else lambda: alike.lift,
        )
    fitted = _Fitted(problem, _at(problem, columns))
    if outputs is not None:
        return Known(seen=lambda: _among(fitted.seen, problem, outputs))
    return Known(
        seen=lambda: fitted.seen,
        output_moment=lambda: fitted.innovations @ fitted.innovations.mT,
        innovations=lambda: fitted.innovations,
        lift=lambda: problem.lift,
    )


@final
class _Fitted:
    """Products of a layer's weight when it is refitted to some of its columns."""

    def __init__(self, problem: Problem, at: Int64[Tensor, " columns"]) -> None:
        self.problem, self.at = problem, at

    @property
    def seen(self) -> Tensor:
        return self.problem.seen[..., self.at]

    @cached_property
    def innovations(self) -> Tensor:
        own = self.problem.a[0][self.at[:, None], self.at][None]
        lower, failed = torch.linalg.cholesky_ex(own)
        if bool(failed.any()):
            return _refitted(self.problem, self.at) @ factor(own, check=False)
        solved: Tensor = torch.linalg.solve_triangular(lower.mT, self.seen, upper=True, left=False)
        return solved


def _weight(problem: Problem, outputs: Heirs | None, columns: Sequence[int] | None) -> Tensor:
    if outputs is not None and problem.piece.is_depthwise:
        return problem.weight[list(outputs.rows)]
    weight = problem.weight if columns is None else _refitted(problem, _at(problem, columns))
    return _among(weight, problem, outputs)


def _refitted(problem: Problem, at: Int64[Tensor, " columns"]) -> Tensor:
    known = problem.weight[0], problem.a[0], at
    return refit(*known, seen=problem.seen[0], check=False)[None]


def _inputs(problem: Problem, outputs: Heirs | None, columns: Sequence[int] | None) -> Tensor:
    if outputs is not None and problem.piece.is_depthwise:
        return problem.a[list(outputs.rows)]
    if columns is None:
        return problem.a
    at = _at(problem, columns)
    return problem.a[0][at[:, None], at][None]


def _outputs(problem: Problem, outputs: Heirs | None) -> Tensor:
    if outputs is None:
        return problem.g
    share, block = outputs.share.to(problem.g.device), problem.piece.blocks[0]
    if problem.piece.is_depthwise:  # of whose gradients only the squares are known
        return torch.einsum("ok,oab->kab", share.square(), problem.g)
    if block > 1:  # a transposed convolution writes patches: the same for each of their pixels
        share = torch.kron(share, torch.eye(block).to(share))
    return (share.mT @ problem.g[0] @ share)[None]


def _at(problem: Problem, columns: Sequence[int]) -> Int64[Tensor, " columns"]:
    """The columns of the matrix that belong to some input channels."""
    return _expanded(columns, _block(problem)).to(problem.weight.device)


def _among(products: Tensor, problem: Problem, outputs: Heirs | None) -> Tensor:
    """The rows that belong to some output channels; all of them without these."""
    if outputs is None:
        return products
    return products[:, _expanded(outputs.rows, problem.piece.blocks[0]).to(products.device)]


def _digest(outputs: Heirs | None, columns: Sequence[int] | None) -> str:
    """A short hash of the channels that stay."""
    stays = (None if outputs is None else outputs.rows, columns and list(columns))
    return hashlib.sha256(repr(stays).encode()).hexdigest()[:16]


def unit_moment(readings: Sequence[Reading]) -> Float64[Tensor, "units units"]:
    """Second moment of a group's units where they are read, summed over taps and readers."""
    device, units = readings[0].problem.weight.device, len(readings[0].columns)
    moment = torch.zeros(units, units, dtype=torch.float64, device=device)
    for reading in readings:
        if len({len(at) for at in reading.columns}) == 1:  # else the columns cannot be paired
            for at in torch.stack(reading.columns, 1):
                moment += reading.problem.a[0][at[:, None], at]
    return moment


def _estimates(
    moment: Float64[Tensor, "units units"], kept: Sequence[int]
) -> Float64[Tensor, "units kept"]:
    """Coefficients that estimate every unit from the kept ones, by least squares."""
    own = torch.tensor(list(kept), dtype=torch.int64, device=moment.device)
    if not moment.any():
        return moment.new_zeros(len(moment), len(own))
    estimates: Tensor = torch.linalg.solve(moment[own][:, own], moment[own])
    return estimates.mT

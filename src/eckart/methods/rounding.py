"""Few bits: codes in place of the weights of a form, rounded with feedback from both sides.

Rounding is not a method of its own. It is the last step on the layer itself, so it needs no state
to build from: the triangles are made again for the one width that is chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from jaxtyping import Float64
from torch import Tensor

from eckart.linalg import damped, quadratic_loss
from eckart.linalg.rounding import (
    Rounded,
    Triangle,
    choose_grid,
    round_weight,
    triangle,
    width_losses,
)
from eckart.methods.problem import Problem
from eckart.methods.table_rounding import coded_table, table_losses
from eckart.methods.tables import Table
from eckart.records import Form, Piece
from eckart.records.offered import ROUNDING
from eckart.records.pieces import WIDTHS

_SPAN = 64  # inputs that share a scale, where a row is longer
_DAMPING = 1e-2  # of both moments; errors passed on in directions of noise would come back


@dataclass(frozen=True)
class WidthLosses:
    """What codes are expected to lose.

    Attributes:
        piece: the layer.
        losses: of every width and span, shape (bits, spans).
    """

    piece: Piece
    losses: Float64[Tensor, "bits spans"]


@final
@dataclass(frozen=True)
class Rounding:
    """Codes of 2 to 8 bits, with a scale for each row, or for each 64 inputs of a row.

    The losses are expected from the triangles, before anything is rounded.

    Attributes:
        name: among the methods.
        state: what ``prepare`` returns.
    """

    name: str = ROUNDING
    state: type[WidthLosses] = WidthLosses

    def prepare(self, problem: Problem) -> WidthLosses:
        """Two triangular factorisations, and the grids of all widths."""
        spans, table = _spans(problem.piece), problem.table
        if table is not None:
            losses = table_losses(table, _triangle(problem.g), WIDTHS, spans)
        else:
            losses = width_losses(problem.weight, *_triangles(problem), bits=WIDTHS, spans=spans)
        return WidthLosses(problem.piece, losses)

    def losses(self, state: WidthLosses) -> list[tuple[Form, float]]:
        """The forms of all widths and spans."""
        whole = Form((state.piece,))
        if state.piece.table and state.piece.outputs % 8:
            return []  # its rows would not begin at whole bytes
        return [
            (whole.in_codes((bits,), span or 0), loss)
            for bits, row in zip(WIDTHS, state.losses.tolist(), strict=True)
            for span, loss in zip(_spans(state.piece), row, strict=True)
        ]


@dataclass(frozen=True)
class Coded:
    """Codes and scales in place of weights.

    Attributes:
        weights: one per piece of the form.
        loss: what they lose, under the problem's own moments.
        expected: what they were expected to lose.
    """

    weights: tuple[Rounded, ...]
    loss: float
    expected: float


def coded(problem: Problem, form: Form) -> Coded:
    """The layer itself in codes; the same arguments give the same codes.

    Cost: two triangular factorisations, and out · in · (out + in) / 2 multiply-adds.
    """
    (piece,) = form.pieces
    if problem.table is not None:
        return _coded_table(problem, problem.table, piece)
    a, g = _triangles(problem)
    choice = choose_grid(problem.weight, piece.bits, piece.span or None, a=a, g=g)
    found = round_weight(problem.weight, choice.grid, a=a, g=g)
    lost = problem.weight - found.weight.double()
    return Coded((found,), quadratic_loss(lost, problem.a, problem.g), choice.loss)


def _coded_table(problem: Problem, table: Table, piece: Piece) -> Coded:
    g, span = _triangle(problem.g), piece.span or None
    found = coded_table(table, g, problem.g, piece.bits, span)
    expected = float(table_losses(table, g, (piece.bits,), (span,)))
    return Coded((found,), found.loss, expected)


def _triangles(problem: Problem) -> tuple[Triangle, Triangle]:
    """Those of both moments."""
    return _triangle(problem.a), _triangle(problem.g)


def _triangle(moment: Tensor) -> Triangle:
    """That of a moment, damped once more."""
    return triangle(damped(moment, _DAMPING))


def _spans(piece: Piece) -> tuple[int | None, ...]:
    """How many inputs share a scale: a row; or fewer, where it is long."""
    return (None, _SPAN) if piece.code_shape[2] > _SPAN else (None,)

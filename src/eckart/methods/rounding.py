"""Few bits: the whole weight as codes, rounded with feedback from both sides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

from jaxtyping import Float64
from torch import Tensor

from eckart.linalg import damped
from eckart.linalg.rounding import (
    Rounded,
    Triangle,
    choose_grid,
    round_weight,
    triangle,
    width_losses,
)
from eckart.methods.problem import Problem
from eckart.records import Form, Piece
from eckart.records.pieces import WIDTHS

_SPAN = 64  # inputs that share a scale, where a row is longer
_DAMPING = 1e-2  # of both moments; errors passed on in directions of noise would come back


@dataclass(frozen=True)
class RoundingState:
    """What rounding to any width needs.

    Attributes:
        piece: the layer.
        weight: W, shape (groups, out, in).
        a: of the damped second moment of the inputs.
        g: of that of the output gradients.
        losses: expected loss of every width and span, shape (bits, spans).
    """

    piece: Piece
    weight: Float64[Tensor, "groups out in"]
    a: Triangle
    g: Triangle
    losses: Float64[Tensor, "bits spans"]


@final
@dataclass(frozen=True)
class Rounding:
    """Codes of 2 to 8 bits, with a scale for each row, or for each 64 inputs of a row.

    The losses are expected from the triangles, before anything is rounded. Layers that lose
    channels are not offered in codes yet.

    Attributes:
        name: in the registry.
        state: what ``prepare`` returns.
        only_for: the costs that it saves.
        expected: losses are expected ones, and what is built may lose more or less.
    """

    name: str = "rounding"
    state: type[RoundingState] = RoundingState
    only_for: tuple[str, ...] = ("bytes",)
    expected: bool = True

    def applies(self, piece: Piece) -> bool:
        """True for every layer."""
        return True

    def prepare(self, problem: Problem) -> RoundingState:
        """Two triangular factorisations, and the grids of all widths."""
        a, g = (triangle(damped(moment, _DAMPING)) for moment in (problem.a, problem.g))
        spans = _spans(problem.piece)
        losses = width_losses(problem.weight, a, g, bits=WIDTHS, spans=spans)
        return RoundingState(problem.piece, problem.weight, a, g, losses)

    def losses(self, state: RoundingState) -> list[tuple[Form, float]]:
        """The forms of all widths and spans."""
        return [
            (rounded_form(state.piece, bits, span or 0), loss)
            for bits, row in zip(WIDTHS, state.losses.tolist(), strict=True)
            for span, loss in zip(_spans(state.piece), row, strict=True)
        ]

    def build(self, state: RoundingState, form: Form) -> list[Rounded]:
        """Codes and scales."""
        (piece,) = form.pieces
        weight, a, g = state.weight, state.a, state.g
        grid = choose_grid(weight, piece.bits, piece.span or None, a=a, g=g).grid
        return [round_weight(weight, grid, a=a, g=g)]


def rounded_form(piece: Piece, bits: int, span: int = 0) -> Form:
    """The layer with codes in place of its weights."""
    return Form((replace(piece, bits=bits, span=span),))


def _spans(piece: Piece) -> tuple[int | None, ...]:
    """How many inputs share a scale: a row; or fewer, where it is long."""
    return (None, _SPAN) if piece.matrix_shape[2] > _SPAN else (None,)

"""CP: a 1×1 kernel to r channels, a separate filter for each, and a 1×1 kernel to the outputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

from torch import Tensor

from eckart.linalg import CanonicalFactors, canonical_factors
from eckart.methods.adjoint import as_convolution, weights_in
from eckart.methods.problem import Problem
from eckart.records import Form, Piece

_SHARES = (1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 3 / 4)  # of the break-even rank


@dataclass(frozen=True)
class CanonicalState:
    """Factors of a few ranks; none if the layer is narrowed.

    Attributes:
        piece: the layer.
        found: the factors, by ascending rank.
    """

    piece: Piece
    found: tuple[CanonicalFactors, ...]


@final
@dataclass(frozen=True)
class Canonical:
    """A sum of products of vectors. Each rank needs its own search, so only a few are offered.

    If channels are removed too, no rank is offered, because there would be too many widths.

    Attributes:
        name: in the registry.
        state: what ``prepare`` returns.
    """

    name: str = "cp"
    state: type[CanonicalState] = CanonicalState

    def applies(self, piece: Piece) -> bool:
        """True for kernels of more than one position in a single group."""
        return max(piece.kernel, default=1) > 1 and piece.groups == 1

    def prepare(self, problem: Problem) -> CanonicalState:
        """Seven searches, for ranks up to three quarters of the break-even rank."""
        piece = problem.piece
        if problem.narrowed:
            return CanonicalState(piece, ())
        ranks = sorted({max(1, int(share * _break_even(piece))) for share in _SHARES})
        flat = as_convolution(problem)
        kernel = flat.weight[0].unflatten(1, (flat.piece.inputs, -1))
        a, g = flat.a[0], flat.g[0]
        return CanonicalState(piece, tuple(canonical_factors(kernel, a, g, r) for r in ranks))

    def losses(self, state: CanonicalState) -> list[tuple[Form, float]]:
        """The forms of the ranks that were searched."""
        return [
            (canonical_form(state.piece, len(factors.first)), factors.loss)
            for factors in state.found
        ]

    def build(self, state: CanonicalState, form: Form) -> list[Tensor]:
        """The three kernels."""
        rank = form.pieces[0].outputs
        (found,) = (factors for factors in state.found if len(factors.first) == rank)
        return weights_in(form, (found.first, found.middle, found.last))


def canonical_form(piece: Piece, rank: int) -> Form:
    """A 1×1 kernel to ``rank`` channels, a kernel for each of them, and a 1×1 kernel."""
    middle = replace(piece, inputs=rank, outputs=rank, groups=rank, bias=False)
    last = piece.pointwise(rank, piece.outputs, piece.bias)
    return Form((piece.pointwise(piece.inputs, rank), middle, last))


def _break_even(piece: Piece) -> float:
    """The rank at which the factors have as many weights as the layer."""
    positions = piece.weights // (piece.inputs * piece.outputs)
    return piece.weights / (piece.inputs + positions + piece.outputs)

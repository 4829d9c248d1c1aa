"""CP: a 1×1 kernel to r channels, a separate filter for each, and a 1×1 kernel to the outputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

from torch import Tensor

from eckart.linalg import CanonicalFactors, canonical_path, canonical_refined
from eckart.methods.adjoint import as_convolution, weights_in
from eckart.methods.problem import Problem
from eckart.methods.refining import Refined
from eckart.records import Form, Piece

_SHARES = tuple(
    n / 64 for n in (4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32, 40, 48)
)  # of break-even
_MOST_WORK = 1e9  # rank · in², summed over the ranks; the work is some dozens of times this


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
    """A sum of products of vectors, in few ranks; the wider the layer, the fewer.

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
        """One path, from three quarters of the break-even rank down; less for wide layers."""
        piece, flat = problem.piece, as_convolution(problem)
        ranks = _ranks(flat.piece)
        if problem.narrowed or not ranks:
            return CanonicalState(piece, ())
        kernel = flat.weight[0].unflatten(1, (flat.piece.inputs, -1))
        found = canonical_path(kernel, flat.a[0], flat.g[0], ranks, flat.seen[0])
        return CanonicalState(piece, tuple(found))

    def losses(self, state: CanonicalState) -> list[tuple[Form, float]]:
        """The forms of the ranks that were searched."""
        return [
            (canonical_form(state.piece, len(factors.first)), factors.loss)
            for factors in state.found
        ]

    def build(self, state: CanonicalState, form: Form) -> list[Tensor]:
        """The three kernels."""
        return _weights(form, _found(state, form))

    def refined(self, state: CanonicalState, form: Form, problem: Problem) -> Refined:
        """The three kernels after many more steps of the search."""
        flat = as_convolution(problem)
        kernel = flat.weight[0].unflatten(1, (flat.piece.inputs, -1))
        found = canonical_refined(kernel, flat.a[0], flat.g[0], _found(state, form))
        return Refined(tuple(_weights(form, found)), found.loss)


def canonical_form(piece: Piece, rank: int) -> Form:
    """A 1×1 kernel to ``rank`` channels, a kernel for each of them, and a 1×1 kernel."""
    middle = replace(piece, inputs=rank, outputs=rank, groups=rank, bias=False)
    last = piece.pointwise(rank, piece.outputs, piece.bias)
    return Form((piece.pointwise(piece.inputs, rank), middle, last))


def _found(state: CanonicalState, form: Form) -> CanonicalFactors:
    """The factors of a form; of a transposed convolution they are those of its adjoint."""
    rank = form.pieces[0].outputs
    (found,) = (factors for factors in state.found if len(factors.first) == rank)
    return found


def _weights(form: Form, factors: CanonicalFactors) -> list[Tensor]:
    """The three kernels of a form."""
    return weights_in(form, (factors.first, factors.middle, factors.last))


def _ranks(piece: Piece) -> list[int]:
    """The ranks that are offered for a convolution: the lowest ones, as far as the work allows."""
    ranks = sorted({max(1, int(share * _break_even(piece))) for share in _SHARES})
    positions = piece.matrix_shape[2] // piece.inputs
    for count in range(len(ranks), 0, -1):
        channels = min(piece.inputs, ranks[count - 1])  # see canonical_path
        if sum(ranks[:count]) * (channels * positions) ** 2 <= _MOST_WORK:
            return ranks[:count]
    return []


def _break_even(piece: Piece) -> float:
    """The rank at which the factors have as many weights as the layer."""
    positions = piece.weights // (piece.inputs * piece.outputs)
    return piece.weights / (piece.inputs + positions + piece.outputs)

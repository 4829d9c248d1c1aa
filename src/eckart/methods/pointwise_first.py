"""The other order of low rank: 1×1 to r channels, then the layer's own kernel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

from torch import Tensor

from eckart.linalg import SeparableFactors, separable_factors
from eckart.methods.problem import Problem
from eckart.records import Form, Piece


@final
@dataclass(frozen=True)
class PointwiseFirst:
    """Fewer input channels, each a mixture of all: a projection of the inputs.

    The second kernel is least squares under the whole ``A``; the mixtures are those that are best
    where ``A`` is a product of a moment of the channels and one of the positions, see
    ``separable_factors``.

    Attributes:
        name: in the registry.
    """

    name: str = "pointwise_first"

    def applies(self, piece: Piece) -> bool:
        """Kernels of more than one position, of more than one input channel per group."""
        return max(piece.kernel, default=1) > 1 and piece.inputs > piece.groups

    def losses(self, problem: Problem) -> list[tuple[Form, float]]:
        """Ranks from one up to where the layer has no fewer parameters."""
        losses = enumerate(input_factors(problem, break_even(problem.piece)).losses.tolist())
        return [(pointwise_first_form(problem.piece, r), loss) for r, loss in losses if r > 0]

    def build(self, problem: Problem, form: Form) -> list[Tensor]:
        """Both kernels, the scale split evenly."""
        (rank,) = form.ranks
        kernels = zip(form.pieces, input_factors(problem, rank).balanced(rank), strict=True)
        return [kernel.reshape(piece.weight_shape) for piece, kernel in kernels]


def pointwise_first_form(piece: Piece, rank: int) -> Form:
    """A 1×1 kernel to ``rank`` channels per group, then the layer's own kernel."""
    between = rank * piece.groups
    return Form((piece.pointwise(piece.inputs, between), replace(piece, inputs=between)))


def break_even(piece: Piece) -> int:
    """The largest rank with fewer weights than the layer, at least one."""
    groups, out, row = piece.matrix_shape
    channels = piece.inputs // groups
    return max(1, (out * row - 1) // (channels + out * row // channels))


def input_factors(problem: Problem, rank: int) -> SeparableFactors:
    """Nested factors up to a rank, the kernel's positions taken as one axis."""
    channels = problem.piece.inputs // problem.piece.groups
    kernel = problem.weight.unflatten(2, (channels, 1, -1))
    return separable_factors(kernel, problem.a, problem.g, rank)

"""Low rank: a matrix as two, a k×k convolution as k×k to r channels, then 1×1.

Three methods share the shape and differ in the metric that their decomposition is optimal in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import final

from torch import Tensor

from eckart.linalg import NestedFactors, nested_losses, output_projection, truncated_svd
from eckart.methods.problem import Problem
from eckart.records import Form, Piece


@final
@dataclass(frozen=True)
class LowRank:
    """Nested low-rank factors from one decomposition.

    Attributes:
        name: in the registry.
        decompose: problem to factors of every rank, with their losses under A and G.
        pivoted: whether the second factor carries: the same matrices in rank² weights less.
    """

    name: str
    decompose: Callable[[Problem], NestedFactors]
    pivoted: bool = False

    def applies(self, piece: Piece) -> bool:
        """Every layer has ranks; whether one is cheaper than dense is left to the allocator."""
        return True

    def losses(self, problem: Problem) -> list[tuple[Form, float]]:
        """Ranks from one to full."""
        values = problem.memory.field("losses", *self._remembered(problem)).tolist()
        ranks = range(1, len(values))
        return [(low_rank_form(problem.piece, r, pivoted=self.pivoted), values[r]) for r in ranks]

    def build(self, problem: Problem, form: Form) -> list[Tensor]:
        """Both factors, the scale split evenly."""
        first, second = form.pieces
        factors = problem.memory.recall(*self._remembered(problem))
        left, right = factors.balanced(first.outputs // first.groups)
        return [right.reshape(first.weight_shape), left.reshape(second.weight_shape)]

    def _remembered(
        self, problem: Problem
    ) -> tuple[type[NestedFactors], str, Callable[[], NestedFactors]]:
        """What the decomposition is remembered as, and how to make it.

        Methods with one decomposition share it; a function without a name of its own has the
        method's.
        """
        made = getattr(self.decompose, "__qualname__", "<>")
        title = self.name if "<" in made else f"{self.decompose.__module__}.{made}"
        return NestedFactors, title, partial(self.decompose, problem)


def low_rank_form(piece: Piece, rank: int, *, core: bool = False, pivoted: bool = False) -> Form:
    """The layer's own kernel to ``rank`` channels per group, then a 1×1 kernel.

    With a ``core``, another 1×1 kernel stands between, as wide as the rank on both sides. Pivoted,
    the last carries, where it can: without groups, and below the number of outputs.
    """
    between = rank * piece.groups
    first = replace(piece, outputs=between, bias=False)
    middle = (piece.pointwise(between, between, False),) if core else ()
    last = piece.pointwise(between, piece.outputs, piece.bias)
    carries = pivoted and piece.groups == 1 and rank < piece.outputs
    return Form((first, *middle, replace(last, carries=rank * carries)))


def svd(problem: Problem) -> NestedFactors:
    """Plain singular value decomposition: best for white inputs and outputs."""
    return truncated_svd(problem.weight, problem.a, problem.g)


def activation_svd(problem: Problem) -> NestedFactors:
    """Best under ``A`` alone: the outputs' energy is kept (the rule of SVD-LLM)."""
    factors = output_projection(problem.weight, problem.a)
    losses = nested_losses(factors.left, factors.right, problem.a, problem.g)
    return NestedFactors(factors.left, factors.right, losses)


def weighted_svd(problem: Problem) -> NestedFactors:
    """Best under ``A`` and ``G``: the network's output is kept."""
    if problem.g_scale is None:
        return output_projection(problem.weight, problem.a, problem.g)
    factors = output_projection(problem.weight, problem.a)  # no matrix of out² is needed
    return NestedFactors(factors.left, factors.right, problem.g_scale * factors.losses)

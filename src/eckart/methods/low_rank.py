"""Low rank: a matrix as two, a k×k convolution as k×k to r channels, then 1×1.

Three methods share the shape and differ in the metric that their decomposition is optimal in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from eckart.linalg import NestedFactors, nested_losses, output_projection, truncated_svd
from eckart.methods.problem import Problem
from eckart.records import Form, Piece


@dataclass(frozen=True)
class LowRankState:
    """Nested factors of every rank, in float32 where the layer has no more digits than that.

    Attributes:
        piece: the layer.
        left: shape (groups, out, rank).
        right: shape (groups, rank, in).
        losses: predicted loss of ranks 0 to full, summed over groups.
    """

    piece: Piece
    left: Float[Tensor, "groups out rank"]
    right: Float[Tensor, "groups rank in"]
    losses: Float64[Tensor, " ranks"]


@final
@dataclass(frozen=True)
class LowRank:
    """Nested low-rank factors from one decomposition.

    Attributes:
        name: in the registry.
        decompose: problem to factors of every rank, with their losses under A and G.
        pivoted: whether the second factor carries: the same matrices in rank² weights less.
        state: what ``prepare`` returns.
    """

    name: str
    decompose: Callable[[Problem], NestedFactors]
    pivoted: bool = False
    state: type[LowRankState] = LowRankState

    @property
    def prepared_as(self) -> str:
        """The decomposition's name, so that methods with the same one share its states.

        A function without a name of its own has the method's.
        """
        made = getattr(self.decompose, "__qualname__", "<>")
        return self.name if "<" in made else f"{self.decompose.__module__}.{made}"

    def applies(self, piece: Piece) -> bool:
        """Every layer has ranks; whether one is cheaper than dense is left to the allocator."""
        return True

    def prepare(self, problem: Problem) -> LowRankState:
        """One decomposition."""
        found = self.decompose(problem)
        dtype = torch.promote_types(problem.dtype, torch.float32)
        return LowRankState(
            problem.piece, found.left.to(dtype), found.right.to(dtype), found.losses
        )

    def losses(self, state: LowRankState) -> list[tuple[Form, float]]:
        """Ranks from one to full."""
        losses = enumerate(state.losses.tolist())
        return [
            (low_rank_form(state.piece, rank, pivoted=self.pivoted), loss)
            for rank, loss in losses
            if rank > 0
        ]

    def build(self, state: LowRankState, form: Form) -> list[Tensor]:
        """Both factors, the scale split evenly."""
        first, second = form.pieces
        factors = NestedFactors(state.left.double(), state.right.double(), state.losses)
        left, right = factors.balanced(first.outputs // first.groups)
        return [right.reshape(first.weight_shape), left.reshape(second.weight_shape)]


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

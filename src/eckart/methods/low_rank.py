"""Low rank: a matrix becomes two; a k×k convolution becomes k×k to r channels, then 1×1.

The methods share these shapes. They differ in the metric in which the decomposition is optimal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from eckart.layers import weight_from
from eckart.linalg import (
    NestedFactors,
    nested_losses,
    output_projection,
    projection_losses,
    truncated_svd,
)
from eckart.methods.by_rank import ByRank
from eckart.methods.problem import Problem
from eckart.records import Form, Piece


@dataclass(frozen=True)
class LowRankState:
    """Nested factors of every rank; in float32 unless the layer's dtype is more precise.

    Attributes:
        piece: the layer.
        left: shape (groups, out, rank).
        right: shape (groups, rank, in).
        losses: predicted loss of ranks 0 to full, summed over groups.
    """

    piece: Piece
    left: Float[Tensor, "groups out rank"]
    right: Float[Tensor, "groups rank in"]
    losses: Float64[Tensor, " rank+1"]


@final
@dataclass(frozen=True)
class LowRank:
    """Nested low-rank factors from one decomposition.

    Attributes:
        name: in the registry.
        decompose: turns a problem into factors of every rank, with their losses under A and G.
        pivoted: whether the second factor carries. The matrices are the same, but take rank²
            fewer weights.
        foresee: the losses that ``decompose`` gives, without the factors; None if they are as much
            work.
        state: what ``prepare`` returns.
    """

    name: str
    decompose: Callable[[Problem], NestedFactors]
    pivoted: bool = False
    foresee: Callable[[Problem], Float64[Tensor, " ranks"]] | None = None
    state: type[LowRankState] = LowRankState

    @property
    def prepared_as(self) -> str:
        """The decomposition's name, so that methods with the same decomposition share states.

        A function without its own name, such as a lambda, goes by the method's name.
        """
        made = getattr(self.decompose, "__qualname__", "<>")
        return self.name if "<" in made else f"{self.decompose.__module__}.{made}"

    def applies(self, piece: Piece) -> bool:
        """True for every layer. The allocator decides whether a rank is cheaper than dense."""
        return True

    def prepare(self, problem: Problem) -> LowRankState:
        """One decomposition."""
        found = self.decompose(problem)
        dtype = torch.promote_types(problem.dtype, torch.float32)
        right = problem.spread(found.right)
        return LowRankState(problem.piece, found.left.to(dtype), right.to(dtype), found.losses)

    def losses(self, state: LowRankState) -> list[tuple[Form, float]]:
        """The forms of ranks from one to full."""
        losses = enumerate(state.losses.tolist())
        return [
            (low_rank_form(state.piece, rank, pivoted=self.pivoted), loss)
            for rank, loss in losses
            if rank > 0
        ]

    def foreseen(self, problem: Problem) -> list[ByRank]:
        """The losses by rank; if possible without a decomposition."""
        piece, foresee = problem.piece, self.foresee
        losses = self.prepare(problem).losses if foresee is None else foresee(problem)
        make = partial(low_rank_form, piece, pivoted=self.pivoted)
        return [ByRank(losses[1:].tolist(), make)]

    def build(self, state: LowRankState, form: Form) -> list[Tensor]:
        """Both factors, with the scale split evenly between them."""
        first, second = form.pieces
        factors = NestedFactors(state.left.double(), state.right.double(), state.losses)
        left, right = factors.balanced(first.outputs // first.groups)
        return [weight_from(right, first), weight_from(left, second)]


def low_rank_form(piece: Piece, rank: int, *, core: bool = False, pivoted: bool = False) -> Form:
    """A kernel of the layer's size to ``rank`` channels per group, then a 1×1 kernel.

    With ``core``, another 1×1 kernel from ``rank`` to ``rank`` channels is in between. With
    ``pivoted``, the last kernel carries if it can: in a single group, at ranks below the number of
    outputs. A transposed convolution becomes a 1×1 kernel, then a transposed one of its size, and a
    table becomes a narrower one, then a matrix.
    """
    between = rank * piece.groups
    middle = (piece.pointwise(between, between, False),) if core else ()
    if piece.transposed:
        first = piece.pointwise(piece.inputs, between)
        return Form((first, *middle, replace(piece, inputs=between)))
    first = replace(piece, outputs=between, bias=False)
    last = piece.pointwise(between, piece.outputs, piece.bias)
    carries = pivoted and piece.groups == 1 and rank < piece.outputs
    return Form((first, *middle, replace(last, carries=rank * carries)))


def svd(problem: Problem) -> NestedFactors:
    """Plain singular value decomposition: optimal for white inputs and output gradients."""
    return truncated_svd(problem.weight, problem.a, problem.g, check=False)


def _seen(problem: Problem) -> Tensor | None:
    """``W A`` where the decomposition begins with it, which is on the smaller side."""
    _, out, inputs = problem.weight.shape
    return problem.seen if out <= inputs else None


def activation_svd(problem: Problem) -> NestedFactors:
    """Optimal under ``A`` alone: preserves the layer's outputs (the rule of SVD-LLM)."""
    factors = output_projection(problem.weight, problem.a, seen=_seen(problem), check=False)
    losses = nested_losses(factors.left, factors.right, problem.a, problem.g, check=False)
    return NestedFactors(factors.left, factors.right, losses)


def weighted_svd(problem: Problem) -> NestedFactors:
    """Optimal under ``A`` and ``G``: preserves the network's output."""
    if problem.g_scale is None:
        known = problem.weight, problem.a, problem.g
        return output_projection(*known, seen=_seen(problem), check=False)
    factors = output_projection(problem.weight, problem.a, seen=_seen(problem), check=False)
    return NestedFactors(factors.left, factors.right, problem.g_scale * factors.losses)


def weighted_losses(problem: Problem) -> Float64[Tensor, " ranks"]:
    """The losses of ``weighted_svd``, from the gram matrix of the smaller side."""
    _, out, inputs = problem.piece.moment_shape
    if out <= inputs:
        lift = problem.lift
        return projection_losses(lift.mT @ problem.output_moment @ lift)
    white = problem.innovations
    return projection_losses(white.mT @ problem.g @ white)

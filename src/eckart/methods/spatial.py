"""Spatial factors: a kh×kw convolution as kh×1 then 1×kw, or the other way round."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import final

from torch import Tensor

from eckart.linalg import SeparableFactors, separable_factors
from eckart.methods.problem import Problem
from eckart.records import Form, Piece


@dataclass(frozen=True)
class SpatialState:
    """Nested factors up to the break-even rank, for both orders.

    Attributes:
        piece: the layer.
        orders: factors with the kernel along the first axis first, then those with the kernel
            along the second axis first.
    """

    piece: Piece
    orders: tuple[SeparableFactors, SeparableFactors]


@final
@dataclass(frozen=True)
class Spatial:
    """Both orders of the axes; stride, padding and dilation stay with their axis.

    Attributes:
        name: in the registry.
        state: what ``prepare`` returns.
    """

    name: str = "spatial"
    state: type[SpatialState] = SpatialState

    def applies(self, piece: Piece) -> bool:
        """True for kernels of two axes, both longer than one."""
        return len(piece.kernel) == 2 and min(piece.kernel) > 1

    def prepare(self, problem: Problem) -> SpatialState:
        """One decomposition per order."""
        return SpatialState(problem.piece, (_factors(problem, 0), _factors(problem, 1)))

    def losses(self, state: SpatialState) -> list[tuple[Form, float]]:
        """The forms of ranks from one to the break-even rank, for both orders."""
        return [
            (spatial_form(state.piece, axis, rank), loss)
            for axis, factors in enumerate(state.orders)
            for rank, loss in enumerate(factors.losses.tolist())
            if rank > 0
        ]

    def build(self, state: SpatialState, form: Form) -> list[Tensor]:
        """Both kernels, with the scale split evenly between them."""
        first, second = form.pieces
        factors = state.orders[int(first.kernel[1] != 1)]
        left, right = factors.balanced(first.outputs // first.groups)
        return [left.reshape(first.weight_shape), right.reshape(second.weight_shape)]


def spatial_form(piece: Piece, axis: int, rank: int) -> Form:
    """The kernel along ``axis`` to ``rank`` channels per group, then along the other axis."""
    between = rank * piece.groups
    first = replace(_along(piece, axis), outputs=between, bias=False)
    return Form((first, replace(_along(piece, 1 - axis), inputs=between)))


@lru_cache
def _along(piece: Piece, axis: int) -> Piece:
    """The piece reduced to one axis: it does nothing along the other."""
    return replace(
        piece,
        kernel=_only(piece.kernel, axis, 1),
        stride=_only(piece.stride, axis, 1),
        padding=_only(piece.padding, axis, 0),
        dilation=_only(piece.dilation, axis, 1),
    )


def _only(values: tuple[int, ...], axis: int, idle: int) -> tuple[int, ...]:
    return tuple(value if i == axis else idle for i, value in enumerate(values))


def _factors(problem: Problem, axis: int) -> SeparableFactors:
    """Factors with the kernel along ``axis`` first, up to the break-even rank."""
    piece, a = problem.piece, problem.a
    kernel = problem.weight.unflatten(2, (-1, *piece.kernel))
    if axis == 1:
        shape = tuple(kernel.shape[2:])
        a = a.unflatten(2, shape).unflatten(1, shape).transpose(2, 3).transpose(5, 6)
        a = a.flatten(4).flatten(1, 3)
        kernel = kernel.mT
    groups, out, channels, tall, wide = kernel.shape
    break_even = piece.weights // (groups * (channels * tall + out * wide))
    return separable_factors(kernel.contiguous(), a, problem.g, max(1, break_even), check=False)

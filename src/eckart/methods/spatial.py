"""Spatial factors: a kh×kw convolution as kh×1 then 1×kw, or the other way round."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import final

from torch import Tensor

from eckart.linalg import SeparableFactors, separable_factors
from eckart.methods.problem import Problem
from eckart.records import Form, Piece


@final
@dataclass(frozen=True)
class Spatial:
    """Both orders of the axes; the stride, padding and dilation go with their axis.

    Attributes:
        name: in the registry.
    """

    name: str = "spatial"

    def applies(self, piece: Piece) -> bool:
        """Kernels of two axes, both longer than one."""
        return len(piece.kernel) == 2 and min(piece.kernel) > 1

    def losses(self, problem: Problem) -> list[tuple[Form, float]]:
        """Ranks from one up to where the layer has no fewer parameters, for both orders."""
        return [
            (spatial_form(problem.piece, axis, rank), loss)
            for axis in (0, 1)
            for rank, loss in enumerate(_factors(problem, axis).losses.tolist())
            if rank > 0
        ]

    def build(self, problem: Problem, form: Form) -> list[Tensor]:
        """Both kernels, the scale split evenly."""
        first, second = form.pieces
        axis, rank = int(first.kernel[1] != 1), first.outputs // first.groups
        left, right = _factors(problem, axis, rank).balanced(rank)
        return [left.reshape(first.weight_shape), right.reshape(second.weight_shape)]


def spatial_form(piece: Piece, axis: int, rank: int) -> Form:
    """The kernel along ``axis`` to ``rank`` channels per group, then along the other axis."""
    between = rank * piece.groups
    first = replace(_along(piece, axis), outputs=between, bias=False)
    return Form((first, replace(_along(piece, 1 - axis), inputs=between)))


@lru_cache
def _along(piece: Piece, axis: int) -> Piece:
    """The piece with nothing left to do on the other axis."""
    return replace(
        piece,
        kernel=_only(piece.kernel, axis, 1),
        stride=_only(piece.stride, axis, 1),
        padding=_only(piece.padding, axis, 0),
        dilation=_only(piece.dilation, axis, 1),
    )


def _only(values: tuple[int, ...], axis: int, idle: int) -> tuple[int, ...]:
    return tuple(value if i == axis else idle for i, value in enumerate(values))


def _factors(problem: Problem, axis: int, rank: int | None = None) -> SeparableFactors:
    """Factors with the kernel along ``axis`` first, up to a rank or to the break-even one."""
    piece = problem.piece
    kernel = problem.weight.unflatten(2, (-1, *piece.kernel))
    a = problem.a
    if axis == 1:
        shape = tuple(kernel.shape[2:])
        a = a.unflatten(2, shape).unflatten(1, shape).transpose(2, 3).transpose(5, 6)
        a = a.flatten(4).flatten(1, 3)
        kernel = kernel.mT
    groups, out, channels, tall, wide = kernel.shape
    break_even = piece.weights // (groups * (channels * tall + out * wide))
    return separable_factors(kernel.contiguous(), a, problem.g, rank or max(1, break_even))

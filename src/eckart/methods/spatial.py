"""Spatial factors: a kh×kw convolution as kh×1 then 1×kw, or the other way round.

A kernel of three axes is split in two as well: one axis, then the other two, or the reverse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from math import prod
from typing import final

import torch
from torch import Tensor

from eckart.linalg import SeparableFactors, separable_factors
from eckart.methods.adjoint import as_convolution, weights_in
from eckart.methods.problem import Problem
from eckart.records import Form, Piece

Axes = tuple[int, ...]


@dataclass(frozen=True)
class SpatialState:
    """Nested factors up to the break-even rank, for all orders.

    Attributes:
        piece: the layer.
        orders: factors for each set of axes along which the kernel may come first; see ``orders``.
    """

    piece: Piece
    orders: tuple[SeparableFactors, ...]


@final
@dataclass(frozen=True)
class Spatial:
    """All orders of the axes; stride, padding and dilation stay with their axis.

    Attributes:
        name: in the registry.
        state: what ``prepare`` returns.
    """

    name: str = "spatial"
    state: type[SpatialState] = SpatialState

    def applies(self, piece: Piece) -> bool:
        """True for kernels that are longer than one along several axes."""
        return sum(k > 1 for k in piece.kernel) > 1

    def prepare(self, problem: Problem) -> SpatialState:
        """One decomposition per order: two for two axes, six for three."""
        flat = as_convolution(problem)
        found = tuple(_factors(flat, axes) for axes in orders(problem.piece))
        return SpatialState(problem.piece, found)

    def losses(self, state: SpatialState) -> list[tuple[Form, float]]:
        """The forms of ranks from one to the break-even rank, for all orders."""
        return [
            (spatial_form(state.piece, axes, rank), loss)
            for axes, factors in zip(orders(state.piece), state.orders, strict=True)
            for rank, loss in enumerate(factors.losses.tolist())
            if rank > 0
        ]

    def build(self, state: SpatialState, form: Form) -> list[Tensor]:
        """Both kernels, with the scale split evenly between them."""
        rank = form.pieces[0].outputs // form.pieces[0].groups
        for axes, factors in zip(orders(state.piece), state.orders, strict=True):
            if spatial_form(state.piece, axes, rank) == form:
                return weights_in(form, factors.balanced(rank))
        raise ValueError(f"{form} is not among the forms of this state")


def orders(piece: Piece) -> Iterator[Axes]:
    """The sets of axes along which the kernel may come first: some of the long ones, not all."""
    long = [axis for axis, k in enumerate(piece.kernel) if k > 1]
    for count in range(1, len(long)):
        yield from combinations(long, count)


@lru_cache
def spatial_form(piece: Piece, axes: Axes, rank: int) -> Form:
    """The kernel along some axes to ``rank`` channels per group, then along the others.

    Of a transposed convolution, whose adjoint this is, the others come first.
    """
    between = rank * piece.groups
    others = tuple(axis for axis in range(len(piece.kernel)) if axis not in axes)
    start, end = (others, axes) if piece.transposed else (axes, others)
    first = replace(piece.on(start), outputs=between, bias=False)
    return Form((first, replace(piece.on(end), inputs=between)))


def _factors(problem: Problem, axes: Axes) -> SeparableFactors:
    """Factors with the kernel along some axes first, up to the break-even rank."""
    piece = problem.piece
    groups, out, row = piece.matrix_shape
    others = [axis for axis in range(len(piece.kernel)) if axis not in axes]
    entries = torch.arange(row).reshape(-1, *piece.kernel)
    order = entries.permute(0, *(1 + axis for axis in [*axes, *others])).flatten()
    weight, a = problem.weight, problem.a
    if not torch.equal(order, entries.flatten()):
        order = order.to(a.device)
        weight, a = weight[..., order], a[:, order][..., order]
    tall = prod(piece.kernel[axis] for axis in axes)
    kernel = weight.reshape(groups, out, piece.inputs // groups, tall, -1)
    break_even = piece.weights // (groups * (kernel.shape[2] * tall + out * kernel.shape[4]))
    return separable_factors(kernel.contiguous(), a, problem.g, max(1, break_even), check=False)

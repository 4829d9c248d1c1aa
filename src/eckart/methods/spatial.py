"""Spatial factors: a kh×kw convolution as kh×1 then 1×kw, or the other way round.

A kernel of three axes is split in two as well: one axis, then the other two, or the reverse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import combinations
from math import prod
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from eckart.linalg import SeparableFactors, separable_refined
from eckart.linalg.separable import factors_of_blocks
from eckart.methods.adjoint import as_convolution, weights_in
from eckart.methods.by_rank import ByRank
from eckart.methods.problem import Problem
from eckart.methods.refining import Refined
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

    def foreseen(self, problem: Problem) -> list[ByRank]:
        """The losses by rank, for each order."""
        state = self.prepare(problem)
        return [
            ByRank(factors.losses[1:].tolist(), partial(spatial_form, problem.piece, axes))
            for axes, factors in zip(orders(problem.piece), state.orders, strict=True)
        ]

    def build(self, state: SpatialState, form: Form) -> list[Tensor]:
        """Both kernels, with the scale split evenly between them."""
        return weights_in(form, _found(state, form)[1])

    def refined(self, state: SpatialState, form: Form, problem: Problem) -> Refined:
        """Both kernels after some steps under the full ``A``, group by group."""
        axes, (first, second) = _found(state, form)
        flat = as_convolution(problem)
        kernel = _kernel(flat.weight, flat.piece, axes).contiguous()
        a = _blocks(flat.a, flat.piece, axes).reshape(flat.a.shape)
        groups = zip(kernel, a, flat.g, first, second, strict=True)
        pairs = [separable_refined(*group) for group in groups]
        kernels = torch.stack([p.first for p in pairs]), torch.stack([p.second for p in pairs])
        return Refined(tuple(weights_in(form, kernels)), sum(pair.loss for pair in pairs))


def orders(piece: Piece) -> Iterator[Axes]:
    """The sets of axes along which the kernel may come first: some of the long ones, not all."""
    long = [axis for axis, k in enumerate(piece.kernel) if k > 1]
    for count in range(1, len(long)):
        yield from combinations(long, count)


def spatial_form(piece: Piece, axes: Axes, rank: int) -> Form:
    """The kernel along some axes to ``rank`` channels per group, then along the others.

    Of a transposed convolution, whose adjoint this is, the others come first.
    """
    between = rank * piece.groups
    first, last = _halves(piece, axes)
    return Form((replace(first, outputs=between), replace(last, inputs=between)))


@lru_cache
def _halves(piece: Piece, axes: Axes) -> tuple[Piece, Piece]:
    """Both pieces of a form, for all ranks."""
    others = _others(piece, axes)
    start, end = (others, axes) if piece.transposed else (axes, others)
    return replace(piece.on(start), bias=False), piece.on(end)


def _found(state: SpatialState, form: Form) -> tuple[Axes, tuple[Tensor, Tensor]]:
    """The order of the axes in a form, and its factors."""
    rank = form.pieces[0].outputs // form.pieces[0].groups
    for axes, factors in zip(orders(state.piece), state.orders, strict=True):
        if spatial_form(state.piece, axes, rank) == form:
            return axes, factors.balanced(rank)
    raise ValueError(f"{form} is not among the forms of this state")


def _factors(problem: Problem, axes: Axes) -> SeparableFactors:
    """Factors with the kernel along some axes first, up to the break-even rank."""
    kernel = _kernel(problem.weight, problem.piece, axes).contiguous()
    (groups, out), (c, tall, wide) = kernel.shape[:2], kernel.shape[2:]
    break_even = problem.piece.weights // (groups * (c * tall + out * wide))
    blocks = _blocks(problem.a, problem.piece, axes)
    seen = _kernel(problem.seen, problem.piece, axes)
    return factors_of_blocks(kernel, blocks, seen, problem.lift, max(1, break_even))


def _kernel(matrix: Tensor, piece: Piece, axes: Axes) -> Float64[Tensor, "groups out c tall wide"]:
    """A matrix like the weight by channels, some axes, and the others."""
    groups, out, _ = piece.matrix_shape
    channels = piece.inputs // groups
    tall = prod(piece.kernel[axis] for axis in axes)
    order = (0, 1, 2, *(3 + axis for axis in (*axes, *_others(piece, axes))))
    by_axis = matrix.reshape(groups, out, channels, *piece.kernel).permute(order)
    return by_axis.reshape(groups, out, channels, tall, -1)


def _blocks(a: Tensor, piece: Piece, axes: Axes) -> Float64[Tensor, "groups c t w c t w"]:
    """``A`` by the same axes, both its rows and its columns; a view for kernels of two axes."""
    channels, count = piece.inputs // piece.groups, len(piece.kernel)
    tall = prod(piece.kernel[axis] for axis in axes)
    wide = prod(piece.kernel) // tall
    order = [0, *(1 + axis for axis in (*axes, *_others(piece, axes)))]
    both = (0, *(1 + at for at in order), *(2 + count + at for at in order))
    by_axis = a.reshape(len(a), *(channels, *piece.kernel) * 2).permute(both)
    return by_axis.reshape(len(a), *(channels, tall, wide) * 2)


def _others(piece: Piece, axes: Axes) -> Axes:
    return tuple(axis for axis in range(len(piece.kernel)) if axis not in axes)

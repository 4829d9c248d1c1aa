"""The module that stands where a factored layer stood, and the way back to a dense one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from eckart.layers.carrying import Carrying
from eckart.layers.registry import (
    LAYER_TYPES,
    OwnLayout,
    bias_of,
    known_type_of,
    piece_of,
    weight_of,
)
from eckart.linalg import spanning_rows
from eckart.records import Form, Piece


@final
class Factored(nn.Sequential):
    """A chain of plain layers, such as ``nn.Linear``, that stands in for one of them.

    Only the last has the bias. Nothing else is saved: the chain is known by its shapes.

    Attributes:
        stands_for: the layer type that it took the place of; None where that is its factors' own.
    """

    stands_for: str | None = None

    @property
    def form(self) -> Form:
        """The shapes of the chain."""
        return Form(
            tuple(part.piece if type(part) is Carrying else piece_of(part) for part in self)
        )

    @torch.no_grad()
    def fill(self, weights: Sequence[Tensor]) -> None:
        """Put weights in; where the last piece carries, those of an equal chain that does.

        Args:
            weights: one per piece, in its ``weight_shape``, of any dtype. That of a last piece that
                carries has rows of the identity, or the two last are rewritten so that it does.
        """
        last, whole = self[-1], weights
        if type(last) is Carrying:
            *whole, left = weights
            if not last.take(left.flatten(1)):
                whole[-1] = self._pivoted(last, whole[-1], left)
        for part, weight in zip(self, whole, strict=False):
            weight_of(part).copy_(weight)

    @staticmethod
    def _pivoted(last: Carrying, before: Tensor, left: Tensor) -> Tensor:
        """Fill the last with what carries its inputs; the weight that comes before it then."""
        found = spanning_rows(left.double().flatten(1), before.double().flatten(1))
        last.fill(found.rest, found.order)
        return found.rows.reshape(before.shape)

    def merge(self) -> nn.Module:
        """The dense layer that computes the same; exact but for rounding.

        Returns:
            A plain layer of the class that stood here, of the factors' dtype and device.
        """
        first = self[0]
        weight = composed(weights_of(self), self.form)
        dense = self._whole(_merged_piece(self.form), weight_of(first))
        fill(dense, weight, bias_of(self[-1]))
        dense.requires_grad_(weight_of(first).requires_grad)
        keep_bias_trainable(dense, self[-1])
        return dense.train(self.training)

    def _whole(self, piece: Piece, like: Tensor) -> nn.Module:
        kind = LAYER_TYPES.get(self.stands_for or "", known_type_of(self[0]))
        return kind.whole(piece, like) if isinstance(kind, OwnLayout) else kind.plain(piece, like)


def factors_in(model: nn.Module) -> dict[str, str]:
    """The name of every module inside a factored layer, with that of the layer."""
    factored = {name: m for name, m in model.named_modules() if type(m) is Factored}
    return {
        f"{name}.{inner}": name
        for name, m in factored.items()
        for inner, _ in m.named_modules()
        if inner
    }


def weights_of(module: nn.Module) -> list[Tensor]:
    """The weights of a plain layer or a chain, in float64."""
    parts = module if isinstance(module, Factored) else [module]
    return [weight_of(part).detach().double() for part in parts]


@torch.no_grad()
def refill(module: nn.Module, weights: Sequence[Tensor]) -> None:
    """Put other weights, of any dtype, into a plain layer or a chain."""
    if isinstance(module, Factored):
        module.fill(weights)
    else:
        weight_of(module).copy_(weights[0])


def composed(weights: Sequence[Tensor], form: Form) -> Tensor:
    """The weight of the one layer that computes what a chain does; gradients pass."""
    whole, *others = weights
    groups = form.pieces[0].groups
    for weight, piece in zip(others, form.pieces[1:], strict=True):
        whole = _composed(whole, _in_groups(weight, piece, groups), groups)
    return whole


def rebuild(module: nn.Module, form: Form, weights: Sequence[Tensor]) -> Factored:
    """The factored module that replaces a layer: its bias, dtype, device, mode, and the weights."""
    factored = Factored(*(_blank_pieces(module, form)))
    _like(factored, module)
    factored.fill(weights)
    _fill_bias(factored[-1], bias_of(module))
    return factored


def blank(module: nn.Module, form: Form) -> nn.Module:
    """A module of this form and of uninitialised weights, to be filled, in place of ``module``.

    Factored where the form has several pieces, otherwise a plain layer.
    """
    pieces = _blank_pieces(module, form)
    fresh = pieces[0] if form.is_plain else Factored(*pieces)
    return _like(fresh, module)


def _blank_pieces(module: nn.Module, form: Form) -> list[nn.Module]:
    kind, like = known_type_of(module), weight_of(module)
    return [
        Carrying(kind.plain(piece.rest, like), piece, like)
        if piece.carries
        else kind.plain(piece, like)
        for piece in form.pieces
    ]


def _like(fresh: nn.Module, module: nn.Module) -> nn.Module:
    """The fresh module, trainable where and in the mode that the other one is, which it knows."""
    if isinstance(fresh, Factored) and isinstance(kind := known_type_of(module), OwnLayout):
        fresh.stands_for = kind.name
    fresh.requires_grad_(weight_of(module).requires_grad)
    keep_bias_trainable(fresh[-1] if isinstance(fresh, Factored) else fresh, module)
    return fresh.train(module.training)


def keep_bias_trainable(layer: nn.Module, like: nn.Module) -> None:
    """Let a layer's bias require a gradient just as another layer's does."""
    mine, other = bias_of(layer), bias_of(like)
    if mine is not None and other is not None:
        mine.requires_grad_(other.requires_grad)


@torch.no_grad()
def fill(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    """Copy weight and bias into a plain layer, in its dtype; a bias only where both have one."""
    weight_of(layer).copy_(weight)
    _fill_bias(layer, bias)


@torch.no_grad()
def _fill_bias(layer: nn.Module, bias: Tensor | None) -> None:
    target = bias_of(layer)
    if target is not None and bias is not None:
        target.copy_(bias)


def _in_groups(weight: Tensor, piece: Piece, groups: int) -> Tensor:
    """A piece's kernel; that of a depthwise one as a diagonal in each of the groups."""
    if piece.groups == groups:
        return weight
    width = len(weight) // groups
    diagonal = torch.eye(width, dtype=weight.dtype, device=weight.device).repeat(groups, 1)
    return weight * diagonal.reshape(*diagonal.shape, *[1] * (weight.dim() - 2))


def _composed(first: Tensor, second: Tensor, groups: int) -> Tensor:
    """One kernel from two, of any number of axes, whose extents do not overlap in any of them."""
    axes = first.dim() - 2
    left, right = second.unflatten(0, (groups, -1)), first.unflatten(0, (groups, -1))
    dense = torch.einsum(
        "gorA,grcD->gocAD",
        left.flatten(3, -1) if axes else left[..., None],
        right.flatten(3, -1) if axes else right[..., None],
    )
    shape = [*dense.shape[:3], *second.shape[2:], *first.shape[2:]]
    pairs = [3 + axis + side * axes for axis in range(axes) for side in (0, 1)]
    extents = [a * b for a, b in zip(second.shape[2:], first.shape[2:], strict=True)]
    together = dense.reshape(shape).permute(0, 1, 2, *pairs)
    return together.reshape(*dense.shape[:3], *extents).flatten(0, 1)


def _merged_piece(form: Form) -> Piece:
    """The dense shapes that a chain stands for; on each axis one piece does the work."""
    first, last = form.pieces[0], form.pieces[-1]
    axes = [max(column, key=_work) for column in zip(*(p.axes for p in form.pieces), strict=True)]
    kernel, stride, padding, dilation = zip(*axes, strict=True) if axes else ((), (), (), ())
    modes = [p.padding_mode for p in form.pieces if any(p.padding)]
    mode = modes[0] if modes else "zeros"
    return Piece(
        first.inputs,
        last.outputs,
        kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=first.groups,
        bias=last.bias,
        padding_mode=mode,
    )


def _work(axis: tuple[int, ...]) -> tuple[int, ...]:
    kernel, stride, padding, dilation = axis
    return kernel, stride, padding, dilation

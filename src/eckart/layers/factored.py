"""The module that replaces a layer by its factors, and the way back to a dense layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from eckart.layers.carrying import Carrying
from eckart.layers.embedding import keep_settings
from eckart.layers.few_bits import FewBits
from eckart.layers.product import Product
from eckart.layers.registry import (
    LAYER_TYPES,
    LayerType,
    OwnLayout,
    bias_of,
    exchanged,
    known_type_of,
    piece_of,
    weight_of,
)
from eckart.linalg import spanning_rows
from eckart.linalg.rounding import Rounded
from eckart.records import Form, Piece

_READ = {"weight", "bias", "in_features", "out_features", "nf", "nx"} | {
    *("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
    *("padding_mode", "output_padding", "transposed"),
    *("num_embeddings", "embedding_dim", "padding_idx"),
}
"""The attributes of the layer that are read from what replaces it."""


@final
class Factored(nn.Sequential):
    """A chain of plain layers, such as ``nn.Linear``, that replaces one layer.

    Only the last has a bias. Files hold nothing but the weights and the shapes of the chain.

    Attributes:
        stands_for: the type of the layer it replaced; None if its factors are of the same type.
    """

    __jit_unused_properties__ = ("form",)  # for people, and not compiled by torch.jit.script
    stands_for: str | None = None

    def __getattr__(self, name: str) -> Any:
        """What networks read from the layer that this replaces, such as ``weight`` or ``stride``.

        ``weight`` is the product of the factors, in their dtype and on their device; gradients pass
        through it. It is no parameter, and is multiplied out only where its numbers are used.
        """
        if name not in _READ or not self.__dict__.get("_modules"):
            return super().__getattr__(name)
        if name == "bias":
            return bias_of(self[-1])
        piece, like = merged_piece(self.form), _like_of(self[0])
        if name != "weight":
            return getattr(self._whole(piece, like.to("meta")), name)
        if torch.compiler.is_compiling():
            return self._product()
        dense = cast(Tensor, self._whole(piece, like.to("meta")).weight)
        plain = _kind_of(self[0]).module is nn.Linear and not self.stands_for
        applied = self._applied if plain else None
        return Product.of(self._product, dense.shape, like, applied)

    def _applied(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """What a module computes that multiplies with the weight and adds a bias of its own."""
        y: Tensor = self(x)
        own = bias_of(self[-1])
        if bias is own:
            return y
        y = y if own is None else y - own
        return y if bias is None else y + bias

    def _product(self) -> Tensor:
        """The weight of the layer that this replaces, in its layout."""
        parts = [part.weight if type(part) is Carrying else weight_of(part) for part in self]
        like, form = parts[0], self.form
        exact = torch.promote_types(like.dtype, torch.float32)
        whole = composed([part.to(exact) for part in parts], form).to(like.dtype)
        kind = LAYER_TYPES.get(self.stands_for or "")
        return kind.oriented(whole) if isinstance(kind, OwnLayout) else whole

    @property
    def form(self) -> Form:
        """The shapes of the chain."""
        return Form(
            tuple(part.piece if isinstance(part, _OWN) else piece_of(part) for part in self)
        )

    @torch.no_grad()
    def fill(self, weights: Sequence[Tensor | Rounded]) -> None:
        """Copy weights in.

        Args:
            weights: one per piece, in its ``weight_shape``, of any dtype; what is rounded, or the
                weight that scales are fitted to, for a piece with bits. If the last piece is a
                carrying one, its weight must contain the rows of the identity; where it does not,
                the last two weights are rewritten so that it does and the product stays the same.
        """
        last, whole = self[-1], weights
        if type(last) is Carrying:
            *whole, left = (weight for weight in weights if isinstance(weight, Tensor))
            if not last.take(left.flatten(1)):
                whole[-1] = self._pivoted(last, whole[-1], self.form.pieces[-2], left)
        for part, weight in zip(self, whole, strict=False):
            if isinstance(part, FewBits):
                part.take(weight)
            else:
                weight_of(part).copy_(weight)  # type: ignore[arg-type]

    @staticmethod
    def _pivoted(last: Carrying, before: Tensor, piece: Piece, left: Tensor) -> Tensor:
        """Fill the last piece in its carrying form; returns the weight that then goes before it."""
        rows = exchanged(before, piece)
        found = spanning_rows(left.double().flatten(1), rows.double().flatten(1))
        last.fill(found.rest, found.order)
        return exchanged(found.rows.reshape(rows.shape), piece)

    def merge(self) -> nn.Module:
        """The dense layer that computes the same, up to rounding.

        Returns:
            A plain layer of the class that was replaced, in the factors' dtype and on their device.
        """
        like, form = _like_of(self[0]), self.form
        dense = self._whole(merged_piece(form), like)
        fill(dense, composed(weights_of(self), form), bias_of(self[-1]))
        dense.requires_grad_(_is_trainable(self[0]))
        keep_bias_trainable(dense, self[-1])
        return dense.train(self.training)

    def _whole(self, piece: Piece, like: Tensor) -> nn.Module:
        kind = LAYER_TYPES.get(self.stands_for or "", _kind_of(self[0]))
        made = kind.whole if isinstance(kind, OwnLayout) else kind.plain
        whole = made(piece, like)
        keep_settings(whole, self[0])
        return whole


_OWN = (Carrying, FewBits)
"""Modules that know their piece, which may stand in a chain beside plain layers."""


def _kind_of(part: nn.Module) -> LayerType:
    """The layer type of a part of a chain."""
    return known_type_of(part.layer if isinstance(part, FewBits) else part)


def _like_of(part: nn.Module) -> Tensor:
    """A tensor of a part's dtype and device."""
    return part.like if isinstance(part, FewBits) else weight_of(part)


def _is_trainable(part: nn.Module) -> bool:
    """Whether the weight of a part is to be trained; codes only say so."""
    return part.trainable if isinstance(part, FewBits) else weight_of(part).requires_grad


def factors_in(model: nn.Module) -> dict[str, str]:
    """The name of every module inside a factored layer, mapped to the name of that layer."""
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
    """Copy weights, of any dtype, into a plain layer or a chain."""
    if isinstance(module, Factored):
        module.fill(weights)
    else:
        weight_of(module).copy_(weights[0])


def composed(weights: Sequence[Tensor], form: Form) -> Tensor:
    """The weight of the single layer that computes what a chain does; gradients pass through."""
    groups = form.pieces[0].groups
    whole, *others = (exchanged(w, piece) for w, piece in zip(weights, form.pieces, strict=True))
    for weight, piece in zip(others, form.pieces[1:], strict=True):
        whole = _composed(whole, _in_groups(weight, piece, groups), groups)
    return exchanged(whole, merged_piece(form))


def rebuild(module: nn.Module, form: Form, weights: Sequence[Tensor | Rounded]) -> Factored:
    """The factored module that replaces a layer, with these weights.

    It takes over the layer's bias, dtype, device and mode.
    """
    factored = Factored(*(_blank_pieces(module, form)))
    _like(factored, module)
    factored.fill(weights)
    _fill_bias(factored[-1], bias_of(module))
    return factored


def blank(module: nn.Module, form: Form) -> nn.Module:
    """A module of this form to replace ``module``, with uninitialised weights.

    It is a plain layer where the form is one, otherwise a chain, if only of one piece in codes.
    """
    pieces = _blank_pieces(module, form)
    fresh = pieces[0] if form.is_plain else Factored(*pieces)
    return _like(fresh, module)


def _blank_pieces(module: nn.Module, form: Form) -> list[nn.Module]:
    kind, weight = known_type_of(module), weight_of(module)
    like = weight.detach()
    return [
        FewBits(kind.plain(piece, like.to("meta")), piece, weight)
        if piece.bits
        else Carrying(kind.plain(piece.rest, like), piece, like)
        if piece.carries
        else kind.plain(piece, like)
        for piece in form.pieces
    ]


def _like(fresh: nn.Module, module: nn.Module) -> nn.Module:
    """The fresh module, with the other's mode, trainable where the other is."""
    if isinstance(fresh, Factored) and isinstance(kind := known_type_of(module), OwnLayout):
        fresh.stands_for = kind.name
    keep_settings(fresh[0] if isinstance(fresh, Factored) else fresh, module)
    fresh.requires_grad_(weight_of(module).requires_grad)
    keep_bias_trainable(fresh[-1] if isinstance(fresh, Factored) else fresh, module)
    return fresh.train(module.training)


def keep_bias_trainable(layer: nn.Module, like: nn.Module) -> None:
    """Make a layer's bias require a gradient if the other layer's does."""
    mine, other = bias_of(layer), bias_of(like)
    if mine is not None and other is not None:
        mine.requires_grad_(other.requires_grad)


@torch.no_grad()
def fill(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    """Copy weight and bias into a plain layer, in its dtype; the bias only where both have one."""
    weight_of(layer).copy_(weight)
    _fill_bias(layer, bias)


@torch.no_grad()
def _fill_bias(layer: nn.Module, bias: Tensor | None) -> None:
    target = bias_of(layer)
    if target is not None and bias is not None:
        target.copy_(bias)


def _in_groups(weight: Tensor, piece: Piece, groups: int) -> Tensor:
    """A piece's kernel; a depthwise kernel becomes a diagonal in each of the groups."""
    if piece.groups == groups:
        return weight
    width = len(weight) // groups
    diagonal = torch.eye(width, dtype=weight.dtype, device=weight.device).repeat(groups, 1)
    return weight * diagonal.reshape(*diagonal.shape, *[1] * (weight.dim() - 2))


def _composed(first: Tensor, second: Tensor, groups: int) -> Tensor:
    """One kernel from two with any number of axes; on each axis at most one is longer than 1."""
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


def merged_piece(form: Form) -> Piece:
    """The shapes of the dense layer that a chain replaces; on each axis one piece does the work."""
    first, last = form.pieces[0], form.pieces[-1]
    axes = [max(column) for column in zip(*(p.axes for p in form.pieces), strict=True)]
    modes = [p.padding_mode for p in form.pieces if any(p.padding) or p.extra]
    turned = any(piece.transposed for piece in form.pieces)
    ends = replace(first, outputs=last.outputs, bias=last.bias, transposed=turned)
    mode = modes[0] if modes else "zeros"
    return replace(ends.plain, padding_mode=mode).with_axes(axes)

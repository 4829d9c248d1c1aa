"""The module that stands where a factored layer stood, and the way back to a dense one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from eckart.errors import InputError
from eckart.records import Form, Piece


@final
class Factored(nn.Sequential):
    """A chain of plain ``nn.Linear`` or ``nn.Conv2d`` layers that stands in for one of them.

    Only the last carries the bias. Nothing else is stored: the chain is known by its shapes.
    """

    @property
    def form(self) -> Form:
        """The shapes of the chain."""
        return Form(tuple(piece_of(layer) for layer in self))

    def merge(self) -> nn.Module:
        """The dense layer that computes the same; exact but for rounding.

        Returns:
            ``nn.Linear`` or ``nn.Conv2d`` with the dtype and device of the factors.
        """
        layers = list(self)
        weight = layers[0].weight.detach().double()
        for layer, groups in ((layer, getattr(layer, "groups", 1)) for layer in layers[1:]):
            weight = _composed(weight, layer.weight.detach().double(), groups)
        dense = plain_layer(_merged_piece(self.form), layers[0].weight)
        with torch.no_grad():
            dense.weight.copy_(weight)
            if layers[-1].bias is not None:
                dense.bias.copy_(layers[-1].bias)
        return dense.train(self.training)


def piece_of(layer: nn.Module) -> Piece:
    """The shapes of a plain layer.

    Raises:
        InputError: it is neither ``nn.Linear`` nor ``nn.Conv2d``.
    """
    if type(layer) is nn.Linear:
        return Piece(layer.in_features, layer.out_features, bias=layer.bias is not None)
    if type(layer) is nn.Conv2d:
        return Piece(
            layer.in_channels,
            layer.out_channels,
            kernel=tuple(layer.kernel_size),
            stride=tuple(layer.stride),
            padding=_padding(layer),
            dilation=tuple(layer.dilation),
            groups=layer.groups,
            bias=layer.bias is not None,
            padding_mode=layer.padding_mode,
        )
    raise InputError(f"{type(layer).__name__} is no plain layer: expected Linear or Conv2d")


def plain_layer(piece: Piece, like: Tensor) -> nn.Linear | nn.Conv2d:
    """An uninitialised layer of these shapes with the dtype and device of a tensor."""
    where = {"dtype": like.dtype, "device": like.device}
    if not piece.kernel:
        return nn.utils.skip_init(
            nn.Linear, piece.inputs, piece.outputs, bias=piece.bias, **where
        )
    return nn.utils.skip_init(
        nn.Conv2d,
        piece.inputs,
        piece.outputs,
        piece.kernel,
        stride=piece.stride,
        padding=piece.padding,
        dilation=piece.dilation,
        groups=piece.groups,
        bias=piece.bias,
        padding_mode=piece.padding_mode,
        **where,
    )


def rebuild(module: nn.Module, form: Form, weights: Sequence[Tensor]) -> Factored:
    """The factored module that replaces a layer: its bias, dtype, device, mode, and the weights."""
    factored = blank(module, form)
    with torch.no_grad():
        for layer, weight in zip(factored, weights, strict=True):
            layer.weight.copy_(weight)
        if module.bias is not None:
            factored[-1].bias.copy_(module.bias)
    return factored


def blank(module: nn.Module, form: Form) -> Factored:
    """A factored module of uninitialised weights, to be filled, in place of ``module``."""
    factored = Factored(*(plain_layer(piece, module.weight) for piece in form.pieces))
    for parameter in factored.parameters():
        parameter.requires_grad_(module.weight.requires_grad)
    return factored.train(module.training)


def _composed(first: Tensor, second: Tensor, groups: int) -> Tensor:
    """One kernel from two whose extents do not overlap in any axis."""
    second = second.unflatten(0, (groups, -1))
    first = first.unflatten(0, (groups, -1))
    if first.dim() == 3:
        return (second @ first).flatten(0, 1)
    dense = torch.einsum("gorab,grcde->gocadbe", second, first)
    return dense.flatten(5, 6).flatten(3, 4).flatten(0, 1)


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
        stride,
        padding,
        dilation,
        first.groups,
        last.bias,
        mode,
    )


def _work(axis: tuple[int, ...]) -> tuple[int, ...]:
    kernel, stride, padding, dilation = axis
    return kernel, stride, padding, dilation


def _padding(layer: nn.Conv2d) -> tuple[int, ...]:
    """Explicit padding; 'same' on an even extent is not symmetric and is refused by its layer type."""
    if layer.padding == "same":
        spans = zip(layer.kernel_size, layer.dilation, strict=True)
        return tuple(d * (k - 1) // 2 for k, d in spans)
    return (0, 0) if layer.padding == "valid" else tuple(layer.padding)  # type: ignore[arg-type]

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
        first, *others = self
        weight = weight_of(first).detach().double()
        for layer in others:
            weight = _composed(weight, weight_of(layer).detach().double(), piece_of(layer).groups)
        dense = plain_layer(_merged_piece(self.form), weight_of(first))
        _fill(dense, weight, bias_of(self[-1]))
        dense.requires_grad_(weight_of(first).requires_grad)
        _keep_bias_trainable(dense, self[-1])
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
    if not piece.kernel:
        layer = nn.Linear(piece.inputs, piece.outputs, piece.bias, "meta", like.dtype)
        return layer.to_empty(device=like.device)
    return nn.Conv2d(
        piece.inputs,
        piece.outputs,
        (piece.kernel[0], piece.kernel[1]),
        stride=(piece.stride[0], piece.stride[1]),
        padding=(piece.padding[0], piece.padding[1]),
        dilation=(piece.dilation[0], piece.dilation[1]),
        groups=piece.groups,
        bias=piece.bias,
        padding_mode=piece.padding_mode,  # type: ignore[arg-type]
        device="meta",
        dtype=like.dtype,
    ).to_empty(device=like.device)


def rebuild(module: nn.Module, form: Form, weights: Sequence[Tensor]) -> Factored:
    """The factored module that replaces a layer: its bias, dtype, device, mode, and the weights."""
    factored = blank(module, form)
    biases = [None] * (len(factored) - 1) + [bias_of(module)]
    for layer, weight, bias in zip(factored, weights, biases, strict=True):
        _fill(layer, weight, bias)
    return factored


def blank(module: nn.Module, form: Form) -> Factored:
    """A factored module of uninitialised weights, to be filled, in place of ``module``."""
    weight = weight_of(module)
    factored = Factored(*(plain_layer(piece, weight) for piece in form.pieces))
    factored.requires_grad_(weight.requires_grad)
    _keep_bias_trainable(factored[-1], module)
    return factored.train(module.training)


def weight_of(module: nn.Module) -> Tensor:
    """The weight, as a tensor."""
    weight = module.weight
    if not isinstance(weight, Tensor):
        raise InputError(f"{type(module).__name__} has no weight tensor")
    return weight


def bias_of(module: nn.Module) -> Tensor | None:
    """The bias, where there is one."""
    bias = getattr(module, "bias", None)
    return bias if isinstance(bias, Tensor) else None


def _keep_bias_trainable(layer: nn.Module, like: nn.Module) -> None:
    """Let a layer's bias require a gradient just as another layer's does."""
    mine, other = bias_of(layer), bias_of(like)
    if mine is not None and other is not None:
        mine.requires_grad_(other.requires_grad)


@torch.no_grad()
def _fill(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    weight_of(layer).copy_(weight)
    target = bias_of(layer)
    if target is not None and bias is not None:
        target.copy_(bias)


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
    """Explicit padding; 'same' on an even extent is refused by the layer type."""
    if layer.padding == "same":
        spans = zip(layer.kernel_size, layer.dilation, strict=True)
        return tuple(d * (k - 1) // 2 for k, d in spans)
    return (0, 0) if layer.padding == "valid" else tuple(layer.padding)  # type: ignore[arg-type]

"""Plain layers and norms with fewer channels: the same numbers without some rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from eckart.errors import InputError
from eckart.layers.factored import fill, keep_bias_trainable
from eckart.layers.registry import (
    bias_of,
    exchanged,
    known_type_of,
    type_of,
    weight_of,
)
from eckart.records import Piece

_NORMS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.PReLU, nn.GroupNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)
"""Modules whose parameters have one number per channel; no channel sees one of another group."""
_WIDTHS = ("num_features", "num_parameters", "num_channels")  # their names for how many there are
_TOGETHER = "normalises all channels together, so without some of them the others would change"


def no_narrowing(module: nn.Module, role: str) -> str | None:
    """Why a module cannot lose channels as a ``"writer"``, ``"reader"`` or ``"follower"``."""
    kind = type_of(module)
    if kind is None:
        if isinstance(module, nn.LayerNorm) or getattr(module, "num_groups", 0) == 1:
            return f"{type(module).__name__} {_TOGETHER}"
        if role == "follower" and type(module) in _NORMS:
            return None
        return f"{type(module).__name__} cannot be narrowed"
    piece = kind.piece(module)
    if piece.table:
        return f"{type(module).__name__} keeps its width"
    if role == "follower" or piece.groups > 1:
        if role == "follower" and piece.is_depthwise:
            return None
        return f"{type(module).__name__} has {piece.groups} groups of channels"
    return kind.refusal(module)


def narrowed_piece(
    piece: Piece, rows: int | None = None, columns: int | None = None, bias: bool | None = None
) -> Piece:
    """The piece with ``rows`` output and ``columns`` input channels; None keeps them all."""
    kept = replace(piece, bias=piece.bias if bias is None else bias)
    if piece.is_depthwise:
        width = piece.groups if rows is None else rows
        return replace(kept, inputs=width, outputs=width, groups=width)
    return replace(kept, outputs=rows or piece.outputs, inputs=columns or piece.inputs)


def narrowed(
    module: nn.Module, rows: Sequence[int] | None = None, columns: Sequence[int] | None = None
) -> nn.Module:
    """A new module with only these output and input channels; None keeps them all.

    Raises:
        InputError: the module is neither of a known layer type nor a norm.
    """
    kind = type_of(module)
    if kind is None:
        return _narrowed_norm(module, list(rows or []))
    bias, piece = bias_of(module), kind.piece(module)
    weight = exchanged(weight_of(module).detach(), piece)
    if rows is not None:
        at = torch.tensor(rows, dtype=torch.int64, device=weight.device)
        weight, bias = weight[at], None if bias is None else bias[at]
    if columns is not None:
        weight = weight[:, torch.tensor(columns, dtype=torch.int64, device=weight.device)]
    left, right = (None if part is None else len(part) for part in (rows, columns))
    smaller = narrowed_piece(piece, left, right)
    return filled(module, smaller, exchanged(weight, smaller), bias)


def filled(module: nn.Module, piece: Piece, weight: Tensor, bias: Tensor | None) -> nn.Module:
    """A plain layer of these shapes and numbers to replace ``module``, in its mode."""
    layer = known_type_of(module).plain(piece, weight_of(module))
    fill(layer, weight, bias)
    layer.requires_grad_(weight_of(module).requires_grad)
    keep_bias_trainable(layer, module)
    return layer.train(module.training)


def norm_width(module: nn.Module) -> int | None:
    """The number of channels of a norm that can be narrowed; None for any other module."""
    if type(module) not in _NORMS:
        return None
    return next(int(getattr(module, name)) for name in _WIDTHS if hasattr(module, name))


def channels_normalised_together(module: nn.Module) -> int:
    """How many channels a norm treats as one group, of which none can be removed alone."""
    if type(module) is not nn.GroupNorm:
        return 1
    return module.num_channels // module.num_groups


def blank_norm(module: nn.Module, width: int) -> nn.Module:
    """A norm like ``module`` with ``width`` channels, whose numbers are still to be filled in."""
    return _narrowed_norm(module, range(width))


@torch.no_grad()
def _narrowed_norm(module: nn.Module, kept: Sequence[int]) -> nn.Module:
    """The same norm with only some channels; every tensor with one number per channel is cut."""
    width = norm_width(module)
    if width is None:
        raise InputError(f"{type(module).__name__} cannot be narrowed")
    norm = type(module).__new__(type(module))
    nn.Module.__init__(norm)
    norm.__dict__.update({k: v for k, v in module.__dict__.items() if not k.startswith("_")})
    norm.train(module.training)
    for name, parameter in module._parameters.items():
        cut = parameter
        if parameter is not None:
            cut = nn.Parameter(_cut(parameter, width, kept), parameter.requires_grad)
        norm.register_parameter(name, cut)
    for name, buffer in module._buffers.items():
        norm.register_buffer(name, None if buffer is None else _cut(buffer, width, kept))
    for name in _WIDTHS:
        if hasattr(module, name):
            setattr(norm, name, len(kept))
    if isinstance(norm, nn.GroupNorm):
        norm.num_groups = len(kept) // channels_normalised_together(module)
    return norm


def _cut(tensor: Tensor, width: int, kept: Sequence[int]) -> Tensor:
    if tensor.shape != (width,):
        return tensor.detach().clone()
    at = torch.tensor(list(kept), dtype=torch.int64, device=tensor.device)
    return tensor.detach()[at].clone()

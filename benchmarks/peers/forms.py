"""Layers as matrices, and matrices of low rank as layers."""

import copy
from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor, nn

Layer = nn.Conv2d | nn.Linear


def compressible(model: nn.Module) -> dict[str, Layer]:
    """Linear layers and ungrouped, zero-padded convolutions, by name."""
    return {name: layer for name, layer in model.named_modules() if _is_compressible(layer)}


def _is_compressible(layer: nn.Module) -> bool:
    if type(layer) is nn.Linear:
        return True
    plain = type(layer) is nn.Conv2d and layer.groups == 1
    return plain and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def layer_at(model: nn.Module, name: str) -> Layer:
    """The linear layer or convolution of this name."""
    layer = model.get_submodule(name)
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        raise TypeError(f"{name}: got {type(layer).__name__}, expected Conv2d or Linear")
    return layer


def geometry(layer: nn.Conv2d) -> dict[str, Any]:
    """The geometry of a convolution's patches, by the names of its arguments."""
    names = ("kernel_size", "stride", "padding", "dilation")
    return {name: getattr(layer, name) for name in names}


def matrix(layer: Layer) -> Float64[Tensor, "out in"]:
    """The weight as a matrix: columns of a convolution are (channel, ky, kx)."""
    return layer.weight.detach().flatten(1).double()


def input_rows(layer: Layer, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n in positions"]:
    """The inputs that the matrix multiplies: features, or patches of a convolution."""
    if isinstance(layer, nn.Conv2d):
        return F.unfold(x, **geometry(layer))
    return x.reshape(len(x), -1, layer.in_features).mT


def output_rows(layer: Layer, y: Float[Tensor, "n ..."]) -> Float[Tensor, "n out positions"]:
    """Outputs (or their gradients) at the same positions as `input_rows`."""
    if isinstance(layer, nn.Conv2d):
        return y.flatten(2)
    return y.reshape(len(y), -1, layer.out_features).mT


def dense_size(layer: Layer) -> int:
    """m n, the entries of the matrix."""
    return layer.weight.numel()


def rank_size(layer: Layer) -> int:
    """m + n, the entries that one unit of rank takes."""
    return len(layer.weight) + layer.weight[0].numel()


def largest_rank(layer: Layer) -> int:
    """The largest r with r(m + n) < m n; 0 if factoring never pays."""
    return (dense_size(layer) - 1) // rank_size(layer)


def factored(
    layer: Layer, left: Float[Tensor, "out r"], right: Float[Tensor, "r in"]
) -> nn.Sequential:
    """The layer with `left @ right` for its matrix: k×k to r channels, then 1×1; the bias stays."""
    rank, has_bias = len(right), layer.bias is not None
    if isinstance(layer, nn.Conv2d):
        first: Layer = nn.Conv2d(layer.in_channels, rank, **geometry(layer), bias=False)
        second: Layer = nn.Conv2d(rank, layer.out_channels, 1, bias=has_bias)
    else:
        first = nn.Linear(layer.in_features, rank, bias=False)
        second = nn.Linear(rank, layer.out_features, bias=has_bias)
    pair = nn.Sequential(first, second).to(layer.weight)
    first.weight.data.copy_(right.reshape(first.weight.shape))
    second.weight.data.copy_(left.reshape(second.weight.shape))
    if second.bias is not None and layer.bias is not None:
        second.bias.data.copy_(layer.bias.data)
    return pair


def replaced(model: nn.Module, replacements: Mapping[str, nn.Module]) -> nn.Module:
    """A copy of the model, in eval mode, with some of its submodules replaced."""
    copied = copy.deepcopy(model)
    for name, module in replacements.items():
        copied.set_submodule(name, module)
    return copied.eval()

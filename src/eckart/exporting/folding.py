"""Batch norms folded into the layers whose outputs they read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from eckart.layers import bias_of, exchanged, filled, piece_of, weight_of
from eckart.network.norm_readers import factors_of, norms_after
from eckart.running.batches import call, tensors_in

_CLOSE = 1e3  # roundings of the largest output: a wrong fold is far above, a right one below


@torch.no_grad()
def fold_norms(model: nn.Module, inputs: Any) -> dict[str, Tensor]:
    """Fold every batch norm, in place, that alone reads the output of a plain layer.

    The network is run before and after. Norms whose folding changes its outputs stay, and so do all
    in half precision, because folded weights would be rounded there.

    Args:
        model: in eval mode.
        inputs: to run it on.

    Returns:
        By layer, the factor that each row of its weight was multiplied by.
    """
    pairs = norms_after(model, inputs)
    if not pairs:
        return {}
    before, originals = tensors_in(call(model, inputs)), _modules(model, pairs)
    _fold(model, pairs)
    if not _same(before, tensors_in(call(model, inputs))):
        _put(model, originals)
        pairs = dict(pair for pair in pairs.items() if _folds(model, *pair, before, inputs))
    return {layer: factors_of(originals[norm]) for layer, norm in pairs.items()}


def _folds(model: nn.Module, layer: str, norm: str, before: list[Tensor], inputs: Any) -> bool:
    """Fold one norm; undo it where outputs change."""
    pair = {layer: norm}
    originals = _modules(model, pair)
    _fold(model, pair)
    if _same(before, tensors_in(call(model, inputs))):
        return True
    _put(model, originals)
    return False


def _modules(model: nn.Module, pairs: Mapping[str, str]) -> dict[str, nn.Module]:
    names = [name for pair in pairs.items() for name in pair]
    return {name: model.get_submodule(name) for name in names}


def _put(model: nn.Module, modules: Mapping[str, nn.Module]) -> None:
    for name, module in modules.items():
        model.set_submodule(name, module)


def _fold(model: nn.Module, pairs: Mapping[str, str]) -> None:
    for name, norm in pairs.items():
        layer = model.get_submodule(name)
        model.set_submodule(name, _with_norm(layer, model.get_submodule(norm)))
        model.set_submodule(norm, nn.Identity())


def _with_norm(layer: nn.Module, norm: nn.Module) -> nn.Module:
    """One plain layer that computes both."""
    piece, factors = piece_of(layer), factors_of(norm)
    rows = exchanged(weight_of(layer).double(), piece)
    scaled = exchanged(rows * factors.reshape(-1, *[1] * (rows.dim() - 1)), piece)
    mean: Any = norm.running_mean
    bias, shift = bias_of(layer), bias_of(norm)
    moved = ((0.0 if bias is None else bias.double()) - mean.double()) * factors
    whole = moved if shift is None else moved + shift.double()
    return filled(layer, replace(piece, bias=True), scaled, whole)


def _same(before: list[Tensor], after: list[Tensor]) -> bool:
    """Whether outputs are equal up to rounding."""
    for old, new in zip(before, after, strict=True):
        if not old.is_floating_point() or not old.numel():
            continue
        most = _CLOSE * torch.finfo(old.dtype).eps * float(old.abs().max())
        if not float((old - new).abs().max()) <= most:
            return False
    return True

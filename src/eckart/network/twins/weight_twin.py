"""Layers whose class is not plain although what they compute is: their effective weight."""

from __future__ import annotations

from dataclasses import replace
from typing import final

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from eckart.layers import LAYER_TYPES, LayerType, OwnLayout, type_of
from eckart.layers.embedding import keep_settings
from eckart.layers.naming import class_name
from eckart.network.twins.effective import Effective, computes, effective
from eckart.network.twins.plain import parameter
from eckart.network.twins.same_padding import SamePadded
from eckart.records import Piece

_COMPUTING = ("WeightNorm", "SpectralNorm")
"""Pre-hooks of torch that compute a weight, by the names of their classes; and those of pruning."""


@final
class WeightTwin:
    """Parametrised, normalised, pruned and standardised weights; subclasses that only reshape.

    Whether a layer is one is found out by running it: a plain layer with the weight that it
    multiplies with must give the same, in eval mode, and a subclass in train mode too.
    """

    name = "weight"

    def applies(self, module: nn.Module) -> bool:
        """It is a layer of a known type, but not plainly one; and a plain one computes the same."""
        return self._opened(module) is not None

    def open(self, module: nn.Module) -> nn.Module:
        """The plain layer, or one that pads before."""
        opened = self._opened(module)
        if opened is None:
            raise TypeError(f"{class_name(module)} is not a layer with a weight to be opened")
        return opened

    def close(self, module: nn.Module) -> nn.Module | None:
        """Nothing: a plain layer does not know what its weight was computed from."""
        return None

    def note(self, module: nn.Module) -> str | None:
        """Where the weight is computed: how, and what is stored of it."""
        opened = self.open(module)
        plain = opened.convolution if isinstance(opened, SamePadded) else opened
        if plain.weight is module._parameters.get("weight"):
            return None
        made = f"its weight is computed ({_made_by(module)})"
        return f"{made}: where it changes, the effective weight takes its place and is stored"

    def _opened(self, module: nn.Module) -> nn.Module | None:
        kind = _kind(module)
        if kind is None:
            return None
        piece = kind.piece(module)
        found = effective(module, piece)
        if found is None:
            return None
        by_class = not (is_parametrized(module) or module._forward_pre_hooks)
        modes = (False, True) if by_class else (False,)
        bare = replace(piece, bias=found.bias is not None)
        plain = _filled(kind, bare, found, module)
        if computes(module, plain, piece, modes):
            return plain
        if not piece.kernel or piece.transposed or piece.padding_mode != "zeros":
            return None
        bare = replace(bare, padding=(0,) * len(piece.kernel))
        padded = SamePadded(_filled(kind, bare, found, module)).train(module.training)
        return padded if computes(module, padded, piece, modes) else None


def _kind(module: nn.Module) -> LayerType | None:
    """The type of layer that a module is, if it is not plainly of that type."""
    kind = next((k for k in LAYER_TYPES.values() if isinstance(module, k.module)), None)
    if kind is None or isinstance(kind, OwnLayout):
        return None
    parameters = list(module.parameters())
    usable = all(p.is_floating_point() and not p.is_meta and not is_lazy(p) for p in parameters)
    if not parameters or not usable or set(module._modules) - {"parametrizations"}:
        return None
    hooks = list(module._forward_pre_hooks.values())
    if module._forward_hooks or not all(map(_computes_a_weight, hooks)):
        return None
    is_plain = type_of(module) is not None and not hooks
    return None if is_plain or kind.refusal(module) is not None else kind


def _computes_a_weight(hook: object) -> bool:
    kinds = [k for k in type(hook).__mro__ if k.__module__.startswith("torch.nn.utils.")]
    return any(k.__name__ in (*_COMPUTING, "BasePruningMethod") for k in kinds)


@torch.no_grad()
def _filled(kind: LayerType, piece: Piece, found: Effective, module: nn.Module) -> nn.Module:
    """A plain layer over the effective weight; over the parameter itself where it is one."""
    layer = kind.plain(piece, found.weight)
    trained = any(p.requires_grad for p in module.parameters())
    layer.weight = parameter(found.weight.reshape(piece.weight_shape), trained)
    if found.bias is not None:
        layer.bias = parameter(found.bias, trained)
    keep_settings(layer, module)
    return layer.train(module.training)


def _made_by(module: nn.Module) -> str:
    """The classes that compute a layer's weight."""
    if is_parametrized(module, "weight"):
        return ", ".join(type(part).__name__ for part in module.parametrizations["weight"])  # type: ignore[index]
    hooks = [type(hook).__name__ for hook in module._forward_pre_hooks.values()]
    return ", ".join(hooks) or class_name(module)

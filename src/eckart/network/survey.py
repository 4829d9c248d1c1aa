"""Which layers of a network can be compressed, and why the others cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from eckart.errors import InputError, NonFiniteError
from eckart.layers.naming import class_name
from eckart.layers.registry import LAYER_TYPES, type_of
from eckart.linalg.admissible import WORKING
from eckart.network.exclusions import heads, reserved
from eckart.network.third_party import quantised_class
from eckart.records.naming import names_in

_PACKED = "its weight is quantised; compress the network first, then quantise it"
_SHARED = "its weight is shared with another layer"
_SCRIPTED = "torch.jit made it; compress the network first, then script or trace the result"
_ROOT = "it is the whole network; wrap it in nn.Sequential"


def survey(
    model: nn.Module, only: Iterable[str] | None = None
) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """Layers that can be compressed, by name, and why each other layer with a matrix cannot.

    Args:
        model: the network.
        only: names, or shell patterns such as ``"layer1.*"``; None means all layers except the
            heads of language models.

    Raises:
        InputError: a name or pattern matches no layer.
        NonFiniteError: a weight holds NaN or infinity.
    """
    uses = Counter(id(m) for part in model.modules() for m in part._modules.values())
    owners = Counter(id(p) for p in _weights(model))
    apart = {} if only is not None else heads(model)
    own = reserved(model)
    layers: dict[str, nn.Module] = {}
    skipped: dict[str, str] = {}
    for name, module in model.named_modules():
        if not _has_matrix(module):
            continue
        reason = _reason(module, uses[id(module)], owners) or (None if name else _ROOT)
        reason = own.get(name) or reason or apart.get(name)
        if reason is None:
            layers[name] = module
        else:
            skipped[name] = reason
    chosen = matching(only, [*layers, *skipped]) if only is not None else set(layers)
    skipped |= {name: "not among layers=" for name in layers if name not in chosen}
    layers = {name: module for name, module in layers.items() if name in chosen}
    for name, module in layers.items():
        _check_finite(name, module)
    return layers, skipped


def matching(patterns: Iterable[str], names: Iterable[str]) -> set[str]:
    """The names that match any pattern; a pattern without a match is an error."""
    known, found = list(names), set()
    for pattern in names_in("layers", patterns):
        hits = {name for name in known if name == pattern or fnmatchcase(name, pattern)}
        if not hits:
            raise InputError(f"no layer matches {pattern!r}; layers are: {', '.join(known)}")
        found |= hits
    return found


def _weights(model: nn.Module) -> Iterable[nn.Parameter]:
    for module in model.modules():
        yield from (p for p in module._parameters.values() if p is not None)


def _has_matrix(module: nn.Module) -> bool:
    parameters = [p for p in module._parameters.values() if p is not None]
    lazy = any(isinstance(p, UninitializedParameter) for p in parameters)
    return lazy or _is_quantised(module) or any(p.dim() >= 2 for p in parameters)


def _is_quantised(module: nn.Module) -> bool:
    """Whether its weight is quantised; torch's own layers pack it and give it by a method."""
    return quantised_class(module) is not None and hasattr(module, "weight")


def _reason(module: nn.Module, uses: int, owners: Counter[int]) -> str | None:
    kind = type_of(module)
    if _is_quantised(module):
        return _PACKED
    if any(isinstance(p, UninitializedParameter) for p in module._parameters.values()):
        return "lazily initialised and never run; run the network once, then calibrate"
    if isinstance(module, torch.jit.ScriptModule):
        return _SCRIPTED
    if kind is None and any(owners[id(p)] > 1 for p in module._parameters.values()):
        return _SHARED
    if kind is None:
        known = ", ".join(sorted(LAYER_TYPES))
        return f"no layer type is registered for {class_name(module)} (known: {known})"
    if module.weight.dtype not in WORKING:
        return f"its weight is {module.weight.dtype}; only real floating numbers are factored"
    if uses > 1:
        return "registered under several names"
    if owners[id(module.weight)] > 1:
        return _SHARED
    if module._forward_hooks or module._forward_pre_hooks:
        return "has forward hooks of its own (weight norm, pruning); remove them to include it"
    return kind.refusal(module)


def _check_finite(name: str, module: nn.Module) -> None:
    for kind, parameter in module._parameters.items():
        if parameter is None or parameter.is_meta:  # nowhere, or loaded when it is needed
            continue
        if not bool(torch.isfinite(parameter.detach()).all()):
            raise NonFiniteError(
                f"layer {name!r}: its {kind} holds NaN or infinity; repair it or leave the layer "
                "out with layers=…"
            )

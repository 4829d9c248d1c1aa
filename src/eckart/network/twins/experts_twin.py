"""Mixtures of experts of transformers: every expert's layers are layers like others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast, final

import torch
from torch import Tensor, nn

from eckart.layers.naming import class_name
from eckart.network.twins.experts import Expert, Experts, experts_class, side_by_side
from eckart.network.twins.placing import with_twins
from eckart.network.twins.plain import is_hooked, is_whole, linear_of, parameter

_FLAGS = (
    "num_experts",
    "has_gate",
    "has_bias",
    "has_post_expert_norm",
    "is_transposed",
    "is_concatenated",
)
"""The attributes by which transformers tells its kernels how the experts of a class compute."""
_GATED, _UP, _DOWN = "gate_up_proj", "up_proj", "down_proj"


@final
class ExpertsTwin:
    """Weights of shape (experts, …): gated or not, transposed, with biases, gate and up in turns.

    The class says by its attributes how it computes, because transformers has several kernels for
    it. So nothing is run to find out.
    """

    name = "experts"

    def applies(self, module: nn.Module) -> bool:
        """It has the attributes of such a class, and the parameters that they tell of alone."""
        if isinstance(module, Experts) or not all(hasattr(module, flag) for flag in _FLAGS):
            return False
        own = {name: p for name, p in module._parameters.items() if p is not None}
        return (
            set(own) == set(_names(module))
            and all(p.is_floating_point() for p in own.values())
            and all(p.dim() == (2 if n.endswith("_bias") else 3) for n, p in own.items())
            and {len(p) for p in own.values()} == {module.num_experts}
            and not (is_hooked(module) or getattr(module, "_is_expert_parallel", False))
            and all(p.dim() < 2 for m in module.children() for p in m.parameters())
        )

    def open(self, module: nn.Module) -> nn.Module:
        """The same class with one child for each expert; weights are views of the stacked ones."""
        own, opened = module._parameters, with_twins(module, {})
        for name in _names(module):
            opened._parameters.pop(name)
        opened.__class__ = experts_class(type(module))
        first = _GATED if module.has_gate else _UP
        for at in range(cast(int, module.num_experts)):
            layers = dict(_inner(module, *_one(own, first, at, module)))
            layers[_DOWN] = linear_of(*_one(own, _DOWN, at, module), module)
            opened._modules[str(at)] = Expert(layers).train(module.training)
        return opened

    def close(self, module: nn.Module) -> nn.Module | None:
        """The class itself again, with stacked weights, if its layers are plain and alike."""
        if not isinstance(module, Experts):
            return None
        every = [module.expert(at) for at in range(module.experts)]
        if not all(_is_plain(expert, every[0]) for expert in every):
            return None
        closed = with_twins(module, {})
        closed.__class__ = type(module).__bases__[1]
        for at in range(module.experts):
            del closed._modules[str(at)]
        closed._parameters = {**_stacked(module, every), **closed._parameters}
        return closed

    def note(self, module: nn.Module) -> str | None:
        """That its layers are those of its experts."""
        return (
            f"{module.num_experts} experts ({class_name(module)}): what they compute weighs by the "
            "tokens that calibration routed to each"
        )


def _names(module: nn.Module) -> list[str]:
    """Of the parameters."""
    matrices = [_GATED if module.has_gate else _UP, _DOWN]
    return matrices + [f"{name}_bias" for name in matrices if module.has_bias]


def _one(
    own: dict[str, nn.Parameter | None], name: str, at: int, module: nn.Module
) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of one expert, as views."""
    weight = cast(Tensor, own[name]).detach()[at]
    bias = own.get(f"{name}_bias")
    return weight.T if module.is_transposed else weight, None if bias is None else bias.detach()[at]


def _inner(module: nn.Module, weight: Tensor, bias: Tensor | None) -> list[tuple[str, nn.Module]]:
    """The layers before the activation, by name."""
    if not module.has_gate:
        return [(_UP, linear_of(weight, bias, module))]
    weights = _halves(weight, module)
    biases = (None, None) if bias is None else _halves(bias, module)
    return [
        (name, linear_of(w, b, module))
        for name, w, b in zip(("gate_proj", _UP), weights, biases, strict=True)
    ]


def _halves(both: Tensor, module: nn.Module) -> Sequence[Tensor]:
    """Gate and up."""
    return both.chunk(2) if module.is_concatenated else (both[::2], both[1::2])


def _is_plain(expert: Expert, like: Expert) -> bool:
    """Whether its layers are plain and of the shapes of another's."""
    pairs = zip(expert.children(), like.children(), strict=True)
    return all(
        type(other) is nn.Linear and is_whole(layer, other.in_features, other.out_features)
        for layer, other in pairs
    )


@torch.no_grad()
def _stacked(module: Experts, every: Sequence[Expert]) -> dict[str, nn.Parameter]:
    """The parameters of the class below."""
    found: dict[str, nn.Parameter] = {}
    for name in _names(module):
        made = torch.stack([_joined(module, expert, name) for expert in every])
        trained = any(p.requires_grad for p in every[0].parameters())
        found[name] = parameter(made, trained)
    return found


def _joined(module: nn.Module, expert: Expert, name: str) -> Tensor:
    """One expert's share of a stacked parameter."""
    of = "bias" if name.endswith("_bias") else "weight"
    name = name.removesuffix("_bias")
    parts = ["gate_proj", _UP] if name == _GATED else [name]
    tensors = [cast(Tensor, getattr(getattr(expert, part), of)).detach() for part in parts]
    whole = side_by_side(tensors, bool(module.is_concatenated), 0) if len(parts) > 1 else tensors[0]
    return whole.T if of == "weight" and module.is_transposed else whole

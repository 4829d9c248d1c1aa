"""A twin from outside."""

import torch
from torch import Tensor, nn


class GatedUnit(nn.Module):
    """Two products with one packed weight: what is passed on, and how much of it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.packed = nn.Parameter(torch.randn(2 * outputs, inputs) / inputs**0.5)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = nn.functional.linear(x, self.packed).chunk(2, -1)
        return value * gate.sigmoid()


class OpenGatedUnit(nn.Module):
    """The same, of two plain layers."""

    def __init__(self, value: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.value, self.gate = value, gate

    def forward(self, x: Tensor) -> Tensor:
        return self.value(x) * self.gate(x).sigmoid()


class GatedUnitTwin:
    """Opens a ``GatedUnit``."""

    name = "gated_unit"

    def applies(self, module: nn.Module) -> bool:
        return type(module) is GatedUnit

    def open(self, module: nn.Module) -> nn.Module:
        halves = module.packed.detach().chunk(2)
        value, gate = (_layer(half, module.packed.requires_grad) for half in halves)
        return OpenGatedUnit(value, gate).train(module.training)

    def close(self, module: nn.Module) -> nn.Module | None:
        if not isinstance(module, OpenGatedUnit):
            return None
        layers = [module.value, module.gate]
        if any(type(layer) is not nn.Linear for layer in layers):
            return None  # factored
        if layers[0].weight.shape != layers[1].weight.shape:
            return None  # narrowed
        closed = GatedUnit(layers[0].in_features, layers[0].out_features)
        closed.packed = nn.Parameter(torch.cat([layer.weight.detach() for layer in layers]))
        return closed.train(module.training)

    def note(self, module: nn.Module) -> str | None:
        return None


def _layer(weight: Tensor, trained: bool) -> nn.Linear:
    layer = nn.Linear(*reversed(weight.shape), bias=False, device="meta")
    layer.weight = nn.Parameter(weight, trained)  # a view: opening takes no memory
    return layer

"""Which batch norm reads the output of which layer, and what it does to it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from eckart.layers import bias_of, type_of, weight_of
from eckart.running.batches import call

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_EXACT = (torch.float32, torch.float64)


def norms_after(model: nn.Module, inputs: Any) -> dict[str, str]:
    """The norm that reads the untouched output of each layer, where nothing hints at others."""
    seen = _Outputs()
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if type_of(module) is not None and weight_of(module).dtype in _EXACT:
                handle = module.register_forward_hook(seen.of_layer(name))
            elif type(module) in _NORMS and module.running_mean is not None:
                handle = module.register_forward_pre_hook(seen.into_norm(name))
            else:
                continue
            stack.callback(handle.remove)
        call(model, inputs)
    return seen.pairs()


class _Outputs:
    """Which norm read which layer's output, over all calls."""

    def __init__(self) -> None:
        self.made: list[tuple[str, Tensor, int]] = []
        self.read: list[tuple[str, str | None]] = []

    def of_layer(self, name: str) -> Any:
        """A hook that keeps an output, so that its address is not given away."""
        return lambda module, args, out: self.made.append((name, out, out._version))

    def into_norm(self, name: str) -> Any:
        """A hook that finds the layer whose output comes in, unchanged."""

        def find(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            found = [
                n for n, out, version in self.made if out is args[0] and out._version == version
            ]
            self.read.append((name, found[0] if found else None))

        return find

    def pairs(self) -> dict[str, str]:
        """Layers and norms that are called equally often, and always one after the other."""
        pairs = {layer: norm for norm, layer in self.read if layer is not None}
        return {
            layer: norm
            for layer, norm in pairs.items()
            if [n for n, _ in self.read].count(norm)
            == [n for n, *_ in self.made].count(layer)
            == self.read.count((norm, layer))
        }


def factors_of(norm: nn.Module) -> Tensor:
    """What a norm multiplies each channel with, in float64."""
    found: Any = norm
    factors: Tensor = (found.running_var.double() + found.eps).rsqrt()
    return factors if found.weight is None else factors * found.weight.double()


def shifts_of(norm: nn.Module) -> Tensor:
    """What a norm adds to each channel after that, in float64."""
    found: Any = norm
    shift, mean = bias_of(norm), -found.running_mean.double() * factors_of(norm)
    added: Tensor = mean if shift is None else mean + shift.double()
    return added

"""What a network costs, counted in one forward pass of one example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from eckart.layers import type_of
from eckart.records import Form
from eckart.records.pieces import Size
from eckart.running.batches import call, moved
from eckart.running.hooks import untouched, watching


@dataclass(frozen=True)
class NetworkCosts:
    """Costs of a whole network.

    Attributes:
        params: number of parameters; shared ones count once.
        bytes: bytes of the parameters.
        layer_macs: multiply-adds of every plain layer for one example, by our own count.
        other_macs: multiply-adds of all other operations, by torch's counter.
    """

    params: int
    bytes: int
    layer_macs: Mapping[str, int]
    other_macs: int

    @property
    def macs(self) -> int:
        """Multiply-adds for one example."""
        return sum(self.layer_macs.values()) + self.other_macs

    def totals(self) -> dict[str, int]:
        """The costs by the names that budgets use."""
        return {"params": self.params, "macs": self.macs, "bytes": self.bytes}


def trace_sizes(model: nn.Module, example: Any) -> dict[str, list[Size]]:
    """Input positions of every call of every plain layer, for the example's inputs."""
    layers = {name: m for name, m in model.named_modules() if type_of(m) is not None}
    sizes: dict[str, list[Size]] = {}

    def see(name: str, module: nn.Module, x: Tensor) -> None:
        kind = type_of(module)
        if kind is not None:
            sizes.setdefault(name, []).append(kind.size(module, x))

    with untouched(model), torch.no_grad(), watching(layers, see):
        call(model, moved(example, model))
    return sizes


def network_costs(model: nn.Module, example: Any) -> NetworkCosts:
    """Count parameters, bytes and multiply-adds with one example as input."""
    from torch.utils.flop_counter import FlopCounterMode  # here, because it imports triton

    counter = FlopCounterMode(display=False)
    with counter:
        sizes = trace_sizes(model, example)
    layers = dict(model.named_modules())
    macs = {name: _macs(layers[name], calls) for name, calls in sizes.items()}
    stored = stored_costs(model)
    return NetworkCosts(
        params=stored["params"],
        bytes=stored["bytes"],
        layer_macs=macs,
        other_macs=max(0, counter.get_total_flops() // 2 - sum(macs.values())),
    )


def stored_costs(model: nn.Module) -> dict[str, int]:
    """Parameters and bytes of a network; the network does not have to run."""
    parameters = [p for p in model.parameters() if not is_lazy(p)]
    return {
        "params": sum(p.numel() for p in parameters),
        "bytes": sum(p.numel() * p.element_size() for p in parameters),
    }


def _macs(layer: nn.Module, sizes: list[Size]) -> int:
    kind = type_of(layer)
    return 0 if kind is None else sum(Form((kind.piece(layer),)).macs(size) for size in sizes)

"""Layers that are not called, because another module reads their weight itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from eckart.running.batches import call, moved, tensors_in
from eckart.running.hooks import untouched


class _Reads(TorchFunctionMode):
    """Notes which parameters torch's functions get, where the result is a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def __torch_function__(
        self, func: Callable[..., Any], _: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call the function; a read of a shape or a dtype gives no tensor, and does not count."""
        result = func(*args, **(kwargs or {}))
        if tensors_in(result):
            self.seen |= {id(t) for t in tensors_in((args, kwargs or {}))}
        return result


def weights_read(
    model: nn.Module, example: Any, layers: Mapping[str, nn.Module], called: Mapping[str, Any]
) -> Sequence[str]:
    """The layers that are not called for an example, although their weight is used.

    Args:
        model: the network.
        example: inputs of one example, on which the network runs.
        layers: the layers to look for, by name.
        called: the layers that are called for this example, by name.

    Cost: one forward pass of the example, if some layer is not called; else nothing.
    """
    idle = {name: layer for name, layer in layers.items() if name not in called}
    if not idle:
        return []
    with untouched(model), torch.no_grad(), _Reads() as reads:
        call(model, moved(example, model))
    return [n for n, layer in idle.items() if not reads.seen.isdisjoint(map(id, _own(layer)))]


def _own(layer: nn.Module) -> list[nn.Parameter]:
    return [p for p in layer._parameters.values() if p is not None and p.dim() > 1]

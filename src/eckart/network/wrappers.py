"""What stands around a network: ``torch.compile``, the parallel wrappers, inference mode."""

from __future__ import annotations

import copy
from itertools import chain

from torch import nn
from torch.nn.parameter import is_lazy

from eckart.running.arguments import check_kind

_INSIDE = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "OptimizedModule": "_orig_mod",
}
"""Where each holds the network, by the name of its class, so that none need be imported."""


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside; one that is not wrapped is itself.

    Raises:
        InputError: it is not a module.
    """
    check_kind("model", model, nn.Module)
    while type(model).__name__ in _INSIDE and type(model).__module__.startswith("torch."):
        inside = model._modules.get(_INSIDE[type(model).__name__])
        if inside is None:
            break
        model = inside
    return model


def network_in(model: nn.Module) -> nn.Module:
    """The network to work on: the one inside the wrappers, which gradients can flow through."""
    return trainable(unwrapped(model))


def trainable(model: nn.Module) -> nn.Module:
    """A network that gradients can flow through: itself, or a copy if inference mode made it."""
    tensors = (t for t in chain(model.parameters(), model.buffers()) if not is_lazy(t))
    return copy.deepcopy(model) if any(t.is_inference() for t in tensors) else model

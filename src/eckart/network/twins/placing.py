"""Put twins where modules were."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import nn

from eckart.running.batches import tensors_in


def with_twins(model: nn.Module, twins: Mapping[str, nn.Module]) -> nn.Module:
    """A copy that shares all tensors, with twins in the place of modules, by their names."""
    memo: dict[int, object] = {
        id(tensor): tensor
        for module in model.modules()
        for value in module.__dict__.values()
        for tensor in tensors_in(value, objects=True)
    }
    memo |= {id(model.get_submodule(name)): twin for name, twin in twins.items()}
    return copy.deepcopy(model, memo)


def put(model: nn.Module, twins: Mapping[str, nn.Module]) -> None:
    """Put twins in the place of modules of a network, in place; the whole network becomes one."""
    for name, twin in twins.items():
        if name:
            model.set_submodule(name, twin)
        else:
            model.__class__ = type(twin)
            model.__dict__ = twin.__dict__

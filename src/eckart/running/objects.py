"""Tensors in the attributes of objects: dataclasses, graphs of other libraries, distributions."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

_DEPTH = 3  # of objects in objects
_NO_OBJECTS = (Tensor, nn.Module, Mapping, tuple, list, set, frozenset, str, bytes, type)


def attributes(value: Any, depth: int = _DEPTH) -> dict[str, Any]:
    """The attributes of an object that hold tensors; none of a container or a network.

    Args:
        value: anything.
        depth: how far to look into objects inside.
    """
    if isinstance(value, _NO_OBJECTS) or callable(value):
        return {}
    if is_dataclass(value):
        found = {field.name: getattr(value, field.name) for field in fields(value)}
    else:
        found = getattr(value, "__dict__", {})
    return {name: item for name, item in found.items() if _holds(item, depth - 1)}


def with_attributes(value: Any, changed: Mapping[str, Any]) -> Any:
    """A shallow copy of an object with other attributes."""
    made = copy.copy(value)
    for name, item in changed.items():
        object.__setattr__(made, name, item)
    return made


def with_items(value: Mapping[Any, Any], items: Mapping[Any, Any]) -> Any:
    """A copy of a mapping of some class of its own with other items."""
    made: Any = copy.copy(value)
    for key, item in items.items():
        made[key] = item
    return made


def parameters_of(value: Distribution) -> dict[str, Any]:
    """What a distribution was made of: its parameters, or the distribution inside."""
    named = {*value.arg_constraints, "base_dist"}
    return {name: item for name, item in vars(value).items() if name in named}


def _holds(value: Any, depth: int) -> bool:
    if isinstance(value, Tensor):
        return True
    if isinstance(value, Mapping):
        return any(_holds(item, depth) for item in value.values())
    if isinstance(value, tuple | list):
        return any(_holds(item, depth) for item in value)
    return depth > 0 and bool(attributes(value, depth))

"""Put new modules in the place of layers, and take out those that the network does not run with."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from eckart.errors import InputError, LeftDenseWarning
from eckart.running.batches import call, moved
from eckart.running.hooks import untouched


def copied(model: nn.Module, sharing: Iterable[nn.Module] = ()) -> nn.Module:
    """A copy; where there can be none, an error that says what to do.

    Args:
        model: a network or layer.
        sharing: modules of it that the copy shares: those that will be replaced need no memory.
    """
    try:
        return copy.deepcopy(model, {id(module): module for module in sharing})
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"this network cannot be copied ({error!s:.120}); pass inplace=True to change it itself"
        ) from error


def installed(model: nn.Module, built: Mapping[str, nn.Module], example: Any) -> dict[str, str]:
    """Put the modules in; those that the network does not run with are taken out again.

    Args:
        model: the network, changed.
        built: by the name of the layer that each replaces.
        example: inputs to try the network on; None tries nothing.

    Returns:
        The reason for each layer that was restored; the caller's caller is warned of them.
    """
    dense = {name: model.get_submodule(name) for name in built}
    _put(model, built)
    if example is None or _failure(model, example) is None:
        return {}
    _put(model, dense)
    broken = {}
    for name, module in built.items():
        model.set_submodule(name, module)
        failure = _failure(model, example)
        if failure is not None:
            model.set_submodule(name, dense[name])
            broken[name] = f"the network does not run with it replaced ({failure:.120})"
    listed = "; ".join(f"{name}: {why}" for name, why in broken.items())
    if broken:
        warnings.warn(f"left dense after all: {listed}", LeftDenseWarning, stacklevel=3)
    return broken


def _put(model: nn.Module, modules: Mapping[str, nn.Module]) -> None:
    for name, module in modules.items():
        model.set_submodule(name, module)


def _failure(model: nn.Module, example: Any) -> str | None:
    """What goes wrong in a forward pass, or None."""
    with untouched(model), torch.no_grad():
        try:
            call(model, moved(example, model))
        except Exception as error:  # whatever the network raises is the finding
            return f"{type(error).__name__}: {error}"
    return None

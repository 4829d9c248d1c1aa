"""Replace layers by new modules, and undo it where the network does not run with them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from eckart.errors import InputError, LeftDenseWarning
from eckart.running.batches import call, moved, repeated, tensors_in
from eckart.running.hooks import untouched

_HELD = "the network also holds it elsewhere, in a list or as a bound method, and calls it there"


def copied(
    model: nn.Module,
    sharing: Iterable[nn.Module] = (),
    instead: Mapping[str, nn.Module] | None = None,
) -> nn.Module:
    """A copy, or an error that says what to do if the network cannot be copied.

    Args:
        model: a network or layer.
        sharing: modules that the copy shares with it: those to be replaced need no extra memory.
        instead: modules that the copy has in the place of its own, by name.
    """
    memo: dict[int, object] = {id(module): module for module in sharing}
    memo |= {id(model.get_submodule(name)): new for name, new in (instead or {}).items()}
    memo |= {id(tensor): tensor.detach().clone() for tensor in _computed(model)}
    try:
        with torch.no_grad():  # or torch.jit's parameters would remember what they are copies of
            made = copy.deepcopy(model, memo)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"this network cannot be copied ({error!s:.120}); pass inplace=True to change it itself"
        ) from error
    trained = {name: p.requires_grad for name, p in model.named_parameters()}
    for name, parameter in made.named_parameters():
        if parameter.requires_grad != trained.get(name, parameter.requires_grad):
            parameter.requires_grad_(trained[name])
    return made


def _computed(model: nn.Module) -> Iterator[Tensor]:
    """What an earlier pass left in modules: weights from hooks of weight norm, attention maps."""
    for module in model.modules():
        for value in module.__dict__.values():
            yield from (t for t in tensors_in(value, objects=True) if not t.is_leaf)


def installed(
    model: nn.Module, built: Mapping[str, nn.Module], example: Any, *, stacklevel: int = 3
) -> dict[str, str]:
    """Install modules; those that the network does not run with are removed again.

    Args:
        model: the network, changed in place.
        built: the new modules by the name of the layer that each replaces.
        example: inputs to try the network on, in eval mode, and in train mode if it runs in that
            before anything is installed; None skips the trial.
        stacklevel: of the warning: by default it points at the caller's caller.

    Returns:
        The reason for each layer that was restored. A warning lists them too.
    """
    dense = {name: model.get_submodule(name) for name in built}
    modes = [False] if example is None or _failure(model, example, [True]) else [False, True]
    _put(model, built)
    if example is None or not (why := _trial(model, dense, example, modes)):
        return {}
    broken = {name: reason for name, reason in why.items() if name}
    _put(model, {name: dense[name] for name in (broken or built)})
    for name, module in built.items() if not broken else ():
        model.set_submodule(name, module)
        failure = _failure(model, example, modes)
        if failure is not None:
            model.set_submodule(name, dense[name])
            broken[name] = f"the network does not run with it replaced ({failure:.120})"
    listed = "; ".join(f"{name}: {why}" for name, why in broken.items())
    if broken:
        warnings.warn(f"left dense after all: {listed}", LeftDenseWarning, stacklevel=stacklevel)
    return broken


def _trial(
    model: nn.Module, replaced: Mapping[str, nn.Module], example: Any, modes: Sequence[bool]
) -> dict[str, str]:
    """Which replaced modules are still called, and why; under "" what else goes wrong."""
    called: dict[str, str] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda *_: called.__setitem__(name, _HELD)

    handles = [module.register_forward_pre_hook(note(n)) for n, module in replaced.items()]
    failure = _failure(model, example, modes)
    for handle in handles:
        handle.remove()
    return called or ({} if failure is None else {"": failure})


def _put(model: nn.Module, modules: Mapping[str, nn.Module]) -> None:
    for name, module in modules.items():
        model.set_submodule(name, module)


def _failure(model: nn.Module, example: Any, modes: Sequence[bool]) -> str | None:
    """What goes wrong in forward passes in eval mode, False, or in train mode, True; or None.

    In train mode there are two examples, because many norms need statistics of several.
    """
    for training in modes:
        with untouched(model), torch.no_grad():
            model.train(training)
            try:
                inputs = repeated(example, 2) if training else example
                call(model, moved(inputs, model))
            except Exception as error:  # any error of the network is what we look for
                return f"{'in train mode, ' * training}{type(error).__name__}: {error}"
    return None

"""The names of a network's modules and tensors, without the parts that a wrapper adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from eckart.errors import InputError

_WRAPPERS = {"DataParallel": "module", "DistributedDataParallel": "module"}
_COMPILED = {"OptimizedModule": "_orig_mod"}


@dataclass(frozen=True)
class Named:
    """A network by plain names: the names without ``DataParallel`` and ``compile`` around it.

    Attributes:
        modules: by plain name.
        places: by plain name, the name of the module in this network.
        state: the tensors of ``state_dict``, by plain name.
        keys: by plain name, the key of the tensor in ``state_dict``.
    """

    modules: Mapping[str, nn.Module]
    places: Mapping[str, str]
    state: Mapping[str, Tensor]
    keys: Mapping[str, str]


def named(model: nn.Module) -> Named:
    """The modules and the state of a network.

    Raises:
        InputError: two tensors have the same plain name, one is not initialised, or the state
            holds something that is not a tensor.
    """
    wrappers = {n: inner for n, m in model.named_modules() if (inner := _inner(m)) is not None}
    modules = {name: module for name, module in model.named_modules() if name not in wrappers}
    places = {_plain(name, wrappers): name for name in modules}
    state = model.state_dict(keep_vars=True)  # because a lazy parameter cannot be detached
    keys = {_plain(key, wrappers): key for key in state}
    if len(keys) < len(state):
        raise InputError(
            "two tensors of this network have the same name: rename one of its modules"
        )
    for key, value in state.items():
        _check_tensor(key, value)
    return Named(
        {plain: modules[place] for plain, place in places.items()},
        places,
        {plain: state[key] for plain, key in keys.items()},
        keys,
    )


def inside(model: nn.Module) -> nn.Module:
    """The network without its wrappers."""
    inner = _inner(model)
    return model if inner is None else inside(getattr(model, inner))


def _inner(module: nn.Module) -> str | None:
    """The attribute that holds the module that this one wraps; None if it wraps nothing."""
    attribute = {**_WRAPPERS, **_COMPILED}.get(type(module).__name__)
    ours = type(module).__module__.partition(".")[0] == "torch"
    return attribute if ours and attribute in module._modules else None


def _plain(name: str, wrappers: Mapping[str, str]) -> str:
    place, kept = "", []
    for part in name.split("."):
        if wrappers.get(place) != part:
            kept.append(part)
        place = f"{place}.{part}" if place else part
    return ".".join(kept)


def _check_tensor(key: str, value: Any) -> None:
    if is_lazy(value):
        raise InputError(f"the tensor {key!r:.80} is not initialised: run the network once")
    if isinstance(value, Tensor):
        return
    layer = key.removesuffix("_extra_state").rstrip(".") or "the network"
    raise InputError(
        f"{layer!r:.80} keeps a {type(value).__name__} in its state, and only tensors can be "
        "written: let its get_extra_state return a tensor, or save the object separately"
    )

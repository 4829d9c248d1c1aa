"""What a network's forward takes, by its signature."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from inspect import Parameter, getsource, signature
from math import inf
from typing import Any

from torch import nn

_LIST = re.compile(r"\b(list|Sequence|Iterable)\[[\w.]*Tensor\]", re.IGNORECASE)
_COMMENT = re.compile(r"# type: \(([^,)]*)")  # of the first argument, as in torchvision's detectors


def takes_list(model: nn.Module) -> bool:
    """Whether forward's annotation or type comment says that it first takes a list of tensors."""
    first = next(iter(_parameters_of(model).values()), None)
    if first is None or first.kind is Parameter.VAR_POSITIONAL:
        return False
    if first.annotation is not first.empty:
        return bool(_LIST.search(str(first.annotation)))
    return bool(_LIST.search(_type_comment(getattr(type(model), "forward", None))))


@lru_cache(maxsize=256)
def _type_comment(function: Callable[..., Any] | None) -> str:
    """The type of a function's first argument, from the comment under its head."""
    try:
        found = _COMMENT.search(getsource(function)) if function else None
    except (OSError, TypeError):  # made without a file
        return ""
    return found.group(1) if found else ""


def takes_keywords(model: nn.Module, keys: Iterable[str]) -> bool:
    """Whether forward has an argument of any of these names, or takes whatever is named."""
    named = _parameters_of(model)
    return any(p.kind is p.VAR_KEYWORD for p in named.values()) or any(k in named for k in keys)


def most_positional(model: nn.Module) -> float:
    """How many positional arguments forward takes at most."""
    kinds = [p.kind for p in _parameters_of(model).values()]
    if Parameter.VAR_POSITIONAL in kinds:
        return inf
    return sum(k in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD) for k in kinds)


def _parameters_of(model: nn.Module) -> Mapping[str, Parameter]:
    """The arguments of forward by name; all that there may be if it cannot be told."""
    try:
        return signature(model.forward).parameters
    except (TypeError, ValueError):  # written in C, or made by torch.jit
        return signature(lambda *args, **kwargs: None).parameters

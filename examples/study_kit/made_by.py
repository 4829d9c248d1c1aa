"""What made a trained network or measured rows, as a short key for the cache."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn


def made_by(network: nn.Module, *how: Any) -> str:
    """Twelve hex digits of a network's layers, of the code of its classes, and of `how`.

    Two networks with the same layers differ if their `forward` does. `how` is what else the
    trained weights depend on, such as recipe, seed and images; its `repr` counts.
    """
    own = {type(m) for m in network.modules() if not type(m).__module__.startswith("torch.")}
    code = sorted(inspect.getsource(kind) for kind in own)
    return _key(str(network), *code, *map(repr, how))


def measured_by(measure: Callable, *how: Any) -> str:
    """Twelve hex digits of the code of what measures, and of `how`.

    Of a `partial`, the function inside counts. Functions and classes in `how` count by their code,
    all else by its `repr`. Code that these call is not looked at.
    """
    return _key(*(_said(part) for part in (measure, *how)))


def _said(part: Any) -> str:
    if isinstance(part, partial):
        return _said(part.func)
    is_code = inspect.isfunction(part) or inspect.isclass(part)
    return inspect.getsource(part) if is_code else repr(part)


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]

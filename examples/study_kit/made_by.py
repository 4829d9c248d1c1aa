"""What made a trained network, as a short key for the cache."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

from torch import nn


def made_by(network: nn.Module, *how: Any) -> str:
    """Twelve hex digits of a network's layers, of the code of its classes, and of `how`.

    Two networks with the same layers differ if their `forward` does. `how` is what else the
    trained weights depend on, such as recipe, seed and images; its `repr` counts.
    """
    own = {type(m) for m in network.modules() if not type(m).__module__.startswith("torch.")}
    code = sorted(inspect.getsource(kind) for kind in own)
    parts = "\n".join([str(network), *code, *map(repr, how)])
    return hashlib.sha256(parts.encode()).hexdigest()[:12]

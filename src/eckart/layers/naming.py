"""What a module's class is called in messages: with its module, since many have one name."""

from __future__ import annotations

from torch import nn


def class_name(module: nn.Module) -> str:
    """The full path of a module's class; ``torch.nn`` for those that torch exports there.

    Example:
        >>> class_name(nn.Linear(2, 2))
        'torch.nn.Linear'
    """
    kind = type(module)
    if getattr(nn, kind.__name__, None) is kind:
        return f"torch.nn.{kind.__name__}"
    return f"{kind.__module__}.{kind.__qualname__}"

"""Subclasses of plain layers that do something around what they inherit: the layer as a child."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, nn

INNER = "inner"
MOVED = ("weight", "bias")


class Inherited(nn.Module):
    """What stands in for a plain class beneath its subclass, so that a child holds its numbers.

    The subclass runs its own forward. What it gives to ``super().forward`` reaches the child.

    Attributes:
        inner: the plain layer.
    """

    inner: nn.Module

    @property
    def weight(self) -> Any:
        """That of the plain layer, for a class that reads it."""
        return self.inner.weight

    @property
    def bias(self) -> Any:
        """The same; a table has none."""
        return self.inner.bias

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as torch's
        """What the plain layer gives."""
        y: Tensor = self.inner(input)
        return y

    def __reduce_ex__(self, protocol: Any) -> tuple[Callable[..., Any], tuple[Any, ...], Any]:
        """By the subclass, because a class that is made as needed cannot be found by its name."""
        return blank, kinds_of(self), self.__dict__


def opened_class(kind: type[nn.Module], plain: type[nn.Module]) -> type[nn.Module]:
    """A class that computes what a subclass of a plain one does, with the layer in a child."""
    beneath = type(f"Inherited{plain.__name__}", (Inherited, plain), {})
    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (kind, beneath), named)


def kinds_of(opened: nn.Module) -> tuple[type[nn.Module], type[nn.Module]]:
    """The subclass that an opened module was, and the plain class beneath it."""
    kind, beneath = type(opened).__bases__
    return cast(type[nn.Module], kind), cast(type[nn.Module], beneath.__bases__[1])


def blank(kind: type[nn.Module], plain: type[nn.Module]) -> nn.Module:
    """An opened module of a subclass, without its state."""
    made = opened_class(kind, plain)
    return made.__new__(made)

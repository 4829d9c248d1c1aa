"""Tables whose class computes something around the lookup: scaled words, shifted positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, nn

TABLE = "table"


class Lookup(nn.Embedding):
    """What stands in for ``nn.Embedding`` beneath its subclass, so that a child holds the rows.

    The subclass runs its own forward. What it gives to ``super().forward`` reaches the table.

    Attributes:
        table: whose rows are looked up.
    """

    table: nn.Module

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """That of the table, for a class that reads it."""
        return cast(Tensor, self.table.weight)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as torch's
        """The rows of the table."""
        rows: Tensor = self.table(input)
        return rows

    def __reduce_ex__(self, protocol: Any) -> tuple[Callable[..., Any], tuple[Any, ...], Any]:
        """By the subclass, because a class that is made as needed cannot be found by its name."""
        return blank, (kind_of(self),), self.__dict__


def lookup_of(kind: type[nn.Module]) -> type[Lookup]:
    """A class that computes what a subclass of ``nn.Embedding`` does, with rows in a child."""
    return cast(type[Lookup], type(f"Opened{kind.__name__}", (kind, Lookup), {}))


def kind_of(lookup: Lookup) -> type[nn.Module]:
    """The subclass of ``nn.Embedding`` that an opened one was."""
    return cast(type[nn.Module], type(lookup).__bases__[0])


def blank(kind: type[nn.Module]) -> Lookup:
    """An opened module of a subclass, without its state."""
    made = lookup_of(kind)
    return made.__new__(made)

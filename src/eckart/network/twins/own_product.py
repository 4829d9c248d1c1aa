"""A module that only multiplies with a matrix of its own, with that matrix in a linear layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

_HOW = "_opened_matrix"  # an attribute of the class; parameters have names of their own


@dataclass(frozen=True)
class Matrix:
    """How a module computes ``y = scale · W x + shift · b``.

    Attributes:
        weight: name of the parameter that holds ``W``.
        bias: name of the parameter that holds ``b``, or None.
        transposed: whether it holds ``Wᵀ``, as ``x @ weight`` reads it.
        scale: what the products are multiplied with.
        shift: what ``b`` is multiplied with.
    """

    weight: str
    bias: str | None
    transposed: bool
    scale: float
    shift: float

    def effective(self, weight: Tensor) -> Tensor:
        """The weight of the linear layer from the parameter: the parameter itself if it can be."""
        turned = weight.T if self.transposed else weight
        return turned if self.scale == 1 else self.scale * turned

    def stored(self, weight: Tensor) -> Tensor:
        """The inverse of ``effective``."""
        turned = weight if self.scale == 1 else weight / self.scale
        return turned.T if self.transposed else turned


class OwnProduct(nn.Module):
    """What stands above a class of its own, so that a child multiplies.

    Attributes:
        inner: the linear layer.
    """

    inner: nn.Module

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as torch's
        """The linear layer."""
        y: Tensor = self.inner(input)
        return y

    def __reduce_ex__(self, protocol: Any) -> tuple[Callable[..., Any], tuple[Any, ...], Any]:
        """By the class below, because one that is made as needed cannot be found by its name."""
        return blank, (type(self).__bases__[1], how_of(self)), self.__dict__


def how_of(opened: OwnProduct) -> Matrix:
    """How the class below multiplies."""
    return cast(Matrix, getattr(type(opened), _HOW))


def product_class(kind: type[nn.Module], matrix: Matrix) -> type[nn.Module]:
    """A subclass whose linear layer multiplies; parameters can be read by their names."""
    found: dict[str, Any] = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        _HOW: matrix,
        matrix.weight: property(lambda m: matrix.stored(m.inner.weight)),
    }
    if matrix.bias is not None:
        found[matrix.bias] = property(lambda m: m.inner.bias / matrix.shift)
    return type(kind.__name__, (OwnProduct, kind), found)


def blank(kind: type[nn.Module], matrix: Matrix) -> nn.Module:
    """An opened module of a class, without its state."""
    made = product_class(kind, matrix)
    return made.__new__(made)

"""Checks of a weight and its triangles."""

from __future__ import annotations

from torch import Tensor

from eckart.errors import InputError
from eckart.linalg.admissible import admissible_stack
from eckart.linalg.rounding.triangles import Triangle


def as_stack(weight: Tensor, a: Triangle | None, g: Triangle | None) -> Tensor:
    """A weight of shape (*b, out, in) as (b, out, in), in float64; its triangles must fit.

    Raises:
        InputError: a weight with fewer than two axes, or a triangle of another shape.
        NonFiniteError: the weight holds NaN or infinity.
    """
    weight = admissible_stack(weight, "weight")
    if weight.ndim < 2:
        raise InputError(f"weight has shape {tuple(weight.shape)}; expected (…, out, in)")
    *stack, out, inputs = weight.shape
    for name, found, size in (("a", a, inputs), ("g", g, out)):
        if found is not None and found.diagonal.shape != (*stack, size):
            got, expected = tuple(found.diagonal.shape), (*stack, size)
            raise InputError(f"{name} is a triangle of {got}; the weight needs {expected}")
    return weight.reshape(-1, out, inputs)

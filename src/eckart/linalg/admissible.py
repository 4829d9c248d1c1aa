"""What every decomposition asks of its input, said once: a real, finite, non-empty matrix.

Half-precision matrices are admitted and worked on in float32. Views (transposed, expanded,
strided) are ordinary input. Complex, integer and ``meta`` tensors are refused by name.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from eckart.errors import InputError, NonFiniteError

WORKING = {  # stored dtype: the dtype of the arithmetic
    torch.float64: torch.float64,
    torch.float32: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float16: torch.float32,
}


def admissible_matrix(matrix: Tensor, name: str = "matrix") -> Tensor:
    """The matrix, detached and in its working dtype, once it is known to be usable.

    Args:
        matrix: any tensor.
        name: what the message calls it.

    Returns:
        Shape (m, n), float32 or float64, sharing memory with ``matrix`` where no cast is needed.

    Raises:
        InputError: it is not two-dimensional, empty, complex, of integers, or on ``meta``.
        NonFiniteError: it holds NaN or infinity.

    Cost: O(m·n).

    Example:
        >>> admissible_matrix(torch.ones(2, 3, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    if matrix.ndim != 2:
        raise InputError(f"{name} has shape {tuple(matrix.shape)}; expected two dimensions")
    return admissible(matrix, name)


def admissible(values: Tensor, name: str) -> Tensor:
    """The same for a tensor of any shape."""
    if values.is_meta:
        raise InputError(f"{name} is on the meta device and holds no numbers; move it to a device")
    if values.dtype not in WORKING:
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in WORKING)
        raise InputError(f"{name} is {values.dtype}; expected real floating point: {known}")
    if values.numel() == 0:
        raise InputError(f"{name} is empty, shape {tuple(values.shape)}; every side needs a number")
    values = values.detach()
    if not all(bool(end.isfinite()) for end in torch.aminmax(values)):
        raise NonFiniteError(f"{name} holds NaN or infinity; find out where they come from")
    return values.to(WORKING[values.dtype])


def admissible_moment(moment: Tensor, size: int, name: str) -> Tensor:
    """A square matrix of the given size; O(size²).

    Raises:
        InputError: another shape, or as for `admissible_matrix`.
    """
    moment = admissible_matrix(moment, name)
    if moment.shape != (size, size):
        raise InputError(f"{name} has shape {tuple(moment.shape)}; expected ({size}, {size})")
    return moment


def admissible_stack(values: Tensor, name: str) -> Tensor:
    """The tensor detached and in float64, whatever its number of axes, once it is usable; O(size).

    Raises:
        InputError: it is empty, complex, of integers, or on ``meta``.
        NonFiniteError: it holds NaN or infinity.
    """
    return admissible(values, name).double()


def admissible_problem(weight: Tensor, a: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A weight and its moments in float64, once they are usable and fit; O(size).

    Args:
        weight: shape (groups, out, in); axes after ``out`` count as one.
        a: of the inputs, (groups, in, in).
        g: of the outputs, (groups, out, out).

    Raises:
        InputError: shapes that do not fit, or as for `admissible_stack`.
    """
    named = {"weight": weight, "a": a, "g": g}
    weight, a, g = (admissible_stack(values, name) for name, values in named.items())
    groups, out = weight.shape[:2]
    inputs = math.prod(weight.shape[2:])
    for name, moment, size in (("a", a, inputs), ("g", g, out)):
        if moment.shape != (groups, size, size):
            expected = (groups, size, size)
            raise InputError(f"{name} has shape {tuple(moment.shape)}; expected {expected}")
    return weight, a, g


def check_rank(rank: int, shape: tuple[int, ...] | torch.Size, name: str = "rank") -> None:
    """Refuse a rank that the shape does not have.

    Raises:
        InputError: it is below 1 or above the smaller side.
    """
    most = min(shape)
    if not 1 <= rank <= most:
        sides = "×".join(str(side) for side in shape)
        raise InputError(f"{name}={rank}: a {sides} matrix has ranks 1 to {most}; give one of them")


def check_count(count: int, name: str) -> None:
    """Refuse what is below zero.

    Raises:
        InputError: it is negative.
    """
    if count < 0:
        raise InputError(f"{name}={count}: expected a number from 0 on")


def unit_scale(values: Tensor) -> float:
    """1, or the largest entry where squares of such numbers could leave the dtype's range."""
    low, high = torch.aminmax(values)
    largest = max(-float(low), float(high))
    return 1.0 if largest == 0 or 1e-9 < largest < 1e9 else largest

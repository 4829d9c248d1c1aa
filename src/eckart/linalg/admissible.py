"""Checks of what every decomposition needs as its input: a real, finite, non-empty matrix.

Half-precision matrices are accepted and computed in float32. Views (transposed, expanded,
strided) are ordinary input. Complex, integer and ``meta`` tensors raise an error that names them.
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
    """Check a matrix and return it detached, in its working dtype.

    Args:
        matrix: any tensor.
        name: what an error message calls it.

    Returns:
        Shape (m, n), float32 or float64; it shares memory with ``matrix`` if no cast is needed.

    Raises:
        InputError: it does not have two axes, or is empty, complex, integer or on ``meta``.
        NonFiniteError: it contains NaN or infinity.

    Cost: O(m·n).

    Example:
        >>> admissible_matrix(torch.ones(2, 3, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    if matrix.ndim != 2:
        raise InputError(f"{name} has shape {tuple(matrix.shape)}; expected two dimensions")
    return admissible(matrix, name)


def admissible(values: Tensor, name: str) -> Tensor:
    """Do the same for a tensor of any shape."""
    if values.is_meta:
        raise InputError(f"{name} is on the meta device and holds no numbers; move it to a device")
    if values.dtype not in WORKING:
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in WORKING)
        raise InputError(f"{name} is {values.dtype}; expected real floating point: {known}")
    if values.numel() == 0:
        got = f"{name} is empty, shape {tuple(values.shape)}"
        raise InputError(f"{got}; every side needs at least one entry")
    values = values.detach()
    if not all(bool(end.isfinite()) for end in torch.aminmax(values)):
        raise NonFiniteError(f"{name} holds NaN or infinity; find out where they come from")
    return values.to(WORKING[values.dtype])


def admissible_moment(moment: Tensor, size: int, name: str) -> Tensor:
    """Check a square matrix of the given size; O(size²).

    Raises:
        InputError: it has another shape, or `admissible_matrix` refuses it.
    """
    moment = admissible_matrix(moment, name)
    if moment.shape != (size, size):
        raise InputError(f"{name} has shape {tuple(moment.shape)}; expected ({size}, {size})")
    return moment


def admissible_stack(values: Tensor, name: str) -> Tensor:
    """Check a tensor with any number of axes and return it detached, in float64; O(size).

    Raises:
        InputError: it is empty, complex, integer or on ``meta``.
        NonFiniteError: it contains NaN or infinity.
    """
    return admissible(values, name).double()


def admissible_problem(weight: Tensor, a: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Check that a weight and its moments fit, and return them in float64; O(size).

    Args:
        weight: shape (groups, out, in); axes after ``out`` count as one.
        a: second moment of the inputs, (groups, in, in).
        g: second moment of the output gradients, (groups, out, out).

    Raises:
        InputError: the shapes do not fit, or `admissible_stack` refuses a tensor.
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
    """Check that a matrix of this shape can have the rank.

    Raises:
        InputError: the rank is below 1 or above the smaller side.
    """
    most = min(shape)
    if not 1 <= rank <= most:
        sides = "×".join(str(side) for side in shape)
        raise InputError(f"{name}={rank}: a {sides} matrix has ranks 1 to {most}; give one of them")


def check_count(count: int, name: str) -> None:
    """Check that a count is not negative.

    Raises:
        InputError: it is negative.
    """
    if count < 0:
        raise InputError(f"{name}={count}: expected 0 or more")


def unit_scale(values: Tensor) -> float:
    """1, or the largest absolute entry if its square could overflow or underflow."""
    low, high = torch.aminmax(values)
    largest = max(-float(low), float(high))
    return 1.0 if largest == 0 or 1e-9 < largest < 1e9 else largest

"""Gradients of a scalar function from its values, with a step that suits the function.

These are fourth-order central differences. Steps are powers of two, and points are rounded to
multiples of them, so ``x ± h`` and ``x ± 2h`` are exact in the points' dtype. Two errors remain:
the rounding inside the function, divided by h, and the fifth derivative, times h⁴.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Values = Callable[[Tensor], float]

_STENCIL = ((1, 8), (-1, -8), (2, -1), (-2, 1))  # steps and weights, in twelfths
_SAMPLES = 12  # pairs of a point and a coordinate on which a step is tried
_SCALES = (1.0, 0.1, 0.01, 0.001)  # scales of the points, as multiples of the one given


@dataclass(frozen=True)
class Step:
    """The scale of the points and the step of the differences.

    Attributes:
        scale: standard deviation of the points.
        width: h, a power of two.
        noise: error of a derivative, relative to the root mean square of the derivatives.
    """

    scale: float
    width: float
    noise: float


def difference_gradient(function: Values, point: Float[Tensor, " n"], width: float) -> Tensor:
    """``(8 (f(x + h) − f(x − h)) − (f(x + 2h) − f(x − 2h))) / 12h`` in every coordinate; 4n calls.

    Args:
        function: takes a point and returns a float.
        point: rounded to a multiple of ``width``, as `rounded` does.
        width: h.

    Source: Fornberg 1988, table 1.

    Example:
        >>> difference_gradient(lambda x: float(x @ x), torch.tensor([1.0, 2.0]), 0.25)
        tensor([2., 4.], dtype=torch.float64)
    """
    slopes = [_slope(function, point, i, width) for i in range(len(point))]
    return torch.tensor(slopes, dtype=torch.float64)


def rounded(point: Tensor, width: float) -> Tensor:
    """Round to the nearest multiple of the step."""
    return (point / width).round() * width


def best_step(
    function: Values,
    dimension: int,
    scale: float,
    dtype: torch.dtype,
    generator: torch.Generator | None = None,
) -> Step:
    """Choose the step whose derivatives agree best with those at half the step, and a scale.

    The scale is the largest one whose noise is within a factor of two of the least, because points
    that lie far apart say more.

    Args:
        function: takes a point and returns a float.
        dimension: dimension of the points.
        scale: the largest standard deviation of the points.
        dtype: dtype of the points.
        generator: random generator that draws the points.

    Cost: about 4,000 calls in float32, 8,000 in float64.
    """
    found = [_step_at(function, dimension, scale * part, dtype, generator) for part in _SCALES]
    least = min(step.noise for step in found)
    return next(step for step in found if step.noise <= 2 * least)


def _step_at(
    function: Values,
    dimension: int,
    scale: float,
    dtype: torch.dtype,
    generator: torch.Generator | None,
) -> Step:
    """The best step at one scale."""
    eps = torch.finfo(dtype).eps
    largest = math.floor(math.log2(scale / 64))
    widths = [2.0**k for k in range(largest, math.ceil(math.log2(scale * eps * 4)), -1)]
    points = scale * torch.randn(_SAMPLES, dimension, dtype=dtype, generator=generator)
    points = rounded(points, widths[0])  # multiples of every smaller width too
    which = torch.randint(dimension, (_SAMPLES,), generator=generator).tolist()
    pairs = list(zip(points, which, strict=True))
    slopes = [[_slope(function, point, i, width) for point, i in pairs] for width in widths]
    return _compare(scale, widths, torch.tensor(slopes, dtype=torch.float64))


def _compare(scale: float, widths: list[float], slopes: Tensor) -> Step:
    """Differences between neighbouring steps, relative to the size of the derivatives."""
    change = slopes.diff(dim=0).square().mean(1).sqrt()
    size = slopes[1:].square().mean(1).sqrt()
    noise = torch.where(size > 0, change / size.clamp_min(1e-300), math.inf)
    best = int(noise.argmin())
    return Step(scale, widths[best], float(noise[best]))


def _slope(function: Values, point: Tensor, index: int, width: float) -> float:
    total = 0.0
    for steps, weight in _STENCIL:
        moved = point.clone()
        moved[index] += steps * width
        total += weight * function(moved)
    return total / (12 * width)

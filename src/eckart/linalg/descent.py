"""Descent of a smooth function by L-BFGS, with few evaluations and little work around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

Value = tuple[float, Float[Tensor, " n"]]
"""A function's value and its gradient."""

_HISTORY = 10
_SUFFICIENT = 1e-4  # of the decrease that the slope promises (Armijo)
_LEAST_STEP = 1e-3
_CURVED = 1e-12  # a pair with less curvature, relative to the gradients' change, is not kept


@dataclass(frozen=True)
class _Pair:
    """A step, how the gradient changed over it, and one over their product."""

    step: Tensor
    change: Tensor
    inverse: float


def descended(
    function: Callable[[Tensor], Value],
    start: Float[Tensor, " n"],
    most: int,
    settled: float = 0.0,
) -> Float[Tensor, " n"]:
    """The point after some steps of L-BFGS; its value is never above that of the start.

    Nearly every step is of length 1 and costs one evaluation.

    Args:
        function: gives value and gradient.
        start: where to begin.
        most: number of steps.
        settled: stop at a step that lowers the value by less than this share of it.

    Source: Liu & Nocedal 1989.
    """
    at = start
    value, slope = function(at)
    pairs: list[_Pair] = []
    for _ in range(most):
        direction = _direction(slope, pairs)
        found = _searched(function, at, value, direction, float(slope.dot(direction)))
        if found is None:
            return at
        there, (lower, steeper) = found
        pairs = [*pairs, *_pair(there - at, steeper - slope)][-_HISTORY:]
        gain = value - lower
        at, value, slope = there, lower, steeper
        if gain < settled * abs(value):
            return at
    return at


def _direction(slope: Tensor, pairs: list[_Pair]) -> Tensor:
    """Minus the gradient times the estimate of the inverse Hessian (two loops)."""
    found, taken = -slope, []
    for pair in reversed(pairs):
        share = pair.inverse * float(pair.step.dot(found))
        taken.append(share)
        found.sub_(pair.change, alpha=share)
    if pairs:
        last = pairs[-1]
        found.div_(last.inverse * float(last.change.dot(last.change)))
    for pair, share in zip(pairs, reversed(taken), strict=True):
        found.add_(pair.step, alpha=share - pair.inverse * float(pair.change.dot(found)))
    return found


def _searched(
    function: Callable[[Tensor], Value], at: Tensor, value: float, direction: Tensor, slope: float
) -> tuple[Tensor, Value] | None:
    """A point along the direction that is low enough; None if there is none."""
    step = 1.0
    while step >= _LEAST_STEP:
        there = at + step * direction
        found = function(there)
        if found[0] < value and found[0] <= value + _SUFFICIENT * step * slope:
            return there, found
        excess = found[0] - value - slope * step
        parabola = -slope * step * step / 2 / excess if excess > 0 else 0.0
        step = min(0.5 * step, max(0.1 * step, parabola))
    return None


def _pair(step: Tensor, change: Tensor) -> list[_Pair]:
    """The pair if the function curves upwards over it, else none."""
    product = float(step.dot(change))
    if product <= _CURVED * float(change.dot(change)):
        return []
    return [_Pair(step, change, 1 / product)]

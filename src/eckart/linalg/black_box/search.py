"""How many directions a function looks at: the rank of its gradients at sampled points.

``f(x) = h(W x)`` with ``W`` of r rows has its gradients ``Wᵀ ∇h`` in the row space of ``W``,
whatever ``h``: the rank of enough of them is r. They are sampled a few at a time until their
singular values fall off a cliff down to rounding, and some more confirm it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from eckart.errors import InputError, NonFiniteError
from eckart.linalg.admissible import WORKING
from eckart.linalg.black_box.difference_quotients import best_step, difference_gradient, rounded

_BATCH = 8  # gradients between looks at the spectrum, and as many more than the rank at the end
_CLIFF = 10.0  # ratio of neighbouring singular values that ends the search
_FLOOR = 10.0  # how far above the noise of one gradient the first value that is noise may be
_ABYSS = 1e4  # a fall that counts wherever it ends: noise may be worse than where it was tried
_NOISIEST = (
    0.1  # differences that agree no better with those of half the step show nothing for sure
)
_MOST = 3  # gradients per dimension, when there is no cliff

Black = Callable[[Tensor], Any]  # Any: a number or a scalar of torch, numpy or JAX


@dataclass(frozen=True)
class BlackBoxRank:
    """What the gradients told.

    Attributes:
        rank: the number of directions.
        gap: ratio of the last singular value that counts to the first that does not; where none is
            left (rank = dimension) to the largest that noise could explain; infinite for rank 0.
        sure: whether the gap is ten or more, and the noise of a gradient less than a tenth.
        noise: error of one gradient, relative to its length: rounding, or as observed.
        gradients: how many were sampled.
        calls: of the function, or of the gradient where that was given.
        singular_values: of the matrix of gradients, of unit length or less, descending.
    """

    rank: int
    gap: float
    sure: bool
    noise: float
    gradients: int
    calls: int
    singular_values: Float64[Tensor, " n"]


def black_box_rank(
    function: Black,
    dimension: int,
    *,
    gradient: Black | str = "automatic",
    scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
    generator: torch.Generator | None = None,
) -> BlackBoxRank:
    """The least r for which ``f(x) = h(W x)`` with some ``W`` of shape (r, dimension).

    Points are Gaussian around zero. Differences choose their step and, up to a thousandth of
    ``scale``, the scale of the points by themselves. What no sampled point shows is not counted:
    a direction that matters on a small set only needs points from there.

    Args:
        function: takes a point of shape (dimension,), gives a scalar.
        dimension: of the points.
        gradient: a function from a point to its gradient (of torch, numpy or JAX, so that a JAX
            function goes with ``lambda x: jax.grad(f)(x.numpy())``); "automatic" differentiation by
            torch, with differences where the result has no graph; or "differences".
        scale: standard deviation of the points.
        dtype: of the points: float32 or float64.
        generator: of the points.

    Raises:
        InputError: a dimension, scale, dtype or result that cannot be.
        NonFiniteError: a gradient with NaN or infinity.

    Cost: r + 8 to r + 16 gradients where there is a cliff, 3·dimension where not; a gradient by
        differences is 4·dimension calls, and the choice of the step some 4,000 more in float32,
        8,000 in float64.

    Source: Constantine, Dow and Wang 2014 (1304.2070), active subspaces, section 2.1.

    Example:
        >>> W = torch.randn(3, 20, generator=torch.manual_seed(0))
        >>> black_box_rank(lambda x: torch.sin(W @ x).sum(), 20).rank
        3
    """
    if dimension < 1:
        raise InputError(f"dimension={dimension}: expected at least 1")
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(f"scale={scale}: expected a standard deviation above 0")
    if dtype not in (torch.float32, torch.float64):
        raise InputError(f"dtype={dtype}: expected torch.float32 or torch.float64")
    source = _source(function, dimension, gradient, scale, dtype, generator)
    rows: list[Tensor] = []
    while True:
        rows += [_checked(source(), dimension) for _ in range(_BATCH)]
        rank, gap, values = _cliff(torch.stack(rows), source.noise)
        known = gap >= _CLIFF and len(rows) >= min(rank, dimension) + _BATCH
        if known or len(rows) >= _MOST * dimension + _BATCH:
            break
    sure = gap >= _CLIFF and (rank == 0 or source.noise < _NOISIEST)
    return BlackBoxRank(rank, gap, sure, source.noise, len(rows), source.calls, values)


class _Sampler:
    """Gradients at random points, counting calls."""

    def __init__(
        self,
        gradient: Callable[[Tensor], Any],
        point: Callable[[], Tensor],
        noise: float,
        calls: Callable[[], int],
    ) -> None:
        self.gradient, self.point, self.noise, self.count = gradient, point, noise, calls

    def __call__(self) -> Tensor:
        found = self.gradient(self.point())
        if not isinstance(found, Tensor):
            try:
                found = torch.from_numpy(np.array(found))  # a copy: JAX's cannot be written to
            except (TypeError, ValueError) as error:
                raise InputError(f"a gradient is a {type(found).__name__}: {error}") from error
        return found.detach()

    @property
    def calls(self) -> int:
        """Of what was handed in, so far."""
        return self.count()


class _Counted:
    """A function that knows how often it was called."""

    def __init__(self, function: Black) -> None:
        self.function, self.calls = function, 0

    def __call__(self, point: Tensor) -> Any:
        self.calls += 1
        return self.function(point)

    def value(self, point: Tensor) -> float:
        """As a number, outside of any graph."""
        with torch.no_grad():
            return _number(self(point))

    def slope(self, point: Tensor) -> Tensor:
        """By automatic differentiation."""
        with torch.enable_grad():
            point = point.requires_grad_()
            slope = torch.autograd.grad(self(point), point, allow_unused=True)[0]
        return torch.zeros_like(point) if slope is None else slope


def _source(
    function: Black,
    dimension: int,
    gradient: Black | str,
    scale: float,
    dtype: torch.dtype,
    generator: torch.Generator | None,
) -> _Sampler:
    """Gradients by the way that was asked for."""
    rounding = 30 * torch.finfo(dtype).eps

    def point() -> Tensor:
        return scale * torch.randn(dimension, dtype=dtype, generator=generator)

    if callable(gradient):
        counted = _Counted(gradient)
        return _Sampler(counted, point, rounding, lambda: counted.calls)
    if gradient not in ("automatic", "differences"):
        raise InputError(f"gradient={gradient!r}: expected a function, 'automatic', 'differences'")
    counted = _Counted(function)
    if gradient == "automatic" and _has_graph(counted, point()):
        return _Sampler(counted.slope, point, rounding, lambda: counted.calls)
    step = best_step(counted.value, dimension, scale, dtype, generator)

    def near() -> Tensor:
        return rounded(point() * (step.scale / scale), step.width)

    def slope(where: Tensor) -> Tensor:
        return difference_gradient(counted.value, where, step.width)

    noise = max(step.noise, torch.finfo(dtype).eps)
    return _Sampler(slope, near, noise, lambda: counted.calls)


def _has_graph(function: _Counted, point: Tensor) -> bool:
    """Whether torch can differentiate the result; one call."""
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a tensor with a graph made a number
        try:
            result = function(point.requires_grad_())
        except RuntimeError:  # a tensor with a graph handed to numpy
            return False
    if not (isinstance(result, Tensor) and result.requires_grad):
        return False
    _number(result)
    return True


def _number(result: Any) -> float:
    """A result as a number.

    Raises:
        InputError: it is not one real number.
    """
    try:
        if math.prod(getattr(result, "shape", ())) == 1:
            return float(result.item() if hasattr(result, "item") else result)
    except (TypeError, ValueError):
        pass  # what it is says the error below
    shape = f" of shape {tuple(result.shape)}" if hasattr(result, "shape") else ""
    raise InputError(
        f"the function gave a {type(result).__name__}{shape}; expected one real number"
    )


def _checked(gradient: Tensor, dimension: int) -> Float64[Tensor, " n"]:
    """The gradient in float64.

    Raises:
        InputError: another shape than a point's; NonFiniteError: NaN or infinity.
    """
    if gradient.shape != (dimension,) or gradient.dtype not in WORKING:
        got = f"{gradient.dtype} of shape {tuple(gradient.shape)}"
        raise InputError(f"a gradient is {got}; expected floating point of shape ({dimension},)")
    gradient = gradient.double().cpu()
    if not gradient.isfinite().all():
        raise NonFiniteError("a gradient holds NaN or infinity; try a smaller scale")
    return gradient


def _cliff(gradients: Float64[Tensor, "k n"], noise: float) -> tuple[int, float, Tensor]:
    """Rank, gap and singular values: the steepest fall that ends in the noise.

    Gradients are scaled to unit length, those shorter than the median only by that: their noise is
    no smaller than that of the others.
    """
    lengths = gradients.norm(dim=1, keepdim=True)
    rows = gradients / lengths.clamp_min(max(float(lengths.median()), 1e-300))
    values = torch.linalg.svdvals(rows)
    if values[0] == 0:
        return 0, math.inf, values
    floor = _FLOOR * noise * (1 + math.sqrt(len(rows) / rows.shape[1]))
    least = torch.finfo(torch.float64).eps * values[0]
    falls = values[:-1] / values[1:].maximum(least)
    falls = torch.where((values[1:] <= floor) | (falls > _ABYSS), falls, 0.0)
    if len(falls) and falls.max() > 0:
        rank = int(falls.argmax())
        return rank + 1, float(falls[rank]), values
    complete = len(rows) > rows.shape[1]  # more gradients than dimensions, and none of them noise
    return len(values), float(values[-1]) / floor if complete else 0.0, values

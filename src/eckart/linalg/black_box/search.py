"""The number of directions that a function depends on: the rank of its gradients at random points.

If ``f(x) = h(W x)`` and ``W`` has r rows, then its gradients ``Wᵀ ∇h`` lie in the row space of
``W``, whatever ``h`` is, and enough of them have rank r. They are sampled a few at a time until
their singular values drop sharply to the level of rounding. Some more gradients confirm the drop.
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

_BATCH = 8  # gradients between two looks at the spectrum; also the surplus over the rank at the end
_CLIFF = 10.0  # ratio of neighbouring singular values that ends the search
_FLOOR = 10.0  # the first value that is noise may be this factor above the noise of one gradient
_ABYSS = 1e4  # a drop that counts even if it ends above the noise floor, which is an estimate
_NOISIEST = 0.1  # relative noise of a gradient from which no rank is sure
_MOST = 3  # most gradients per dimension, if there is no cliff

Black = Callable[[Tensor], Any]  # Any: a number or a scalar of torch, numpy or JAX


@dataclass(frozen=True)
class BlackBoxRank:
    """The rank that was found, and the evidence for it.

    Attributes:
        rank: number of directions.
        gap: ratio of the last singular value that counts to the first one that does not. If all
            count (rank = dimension), the ratio is to the largest value that noise could explain.
            Infinite for rank 0.
        sure: whether the gap is at least ten and the noise of a gradient is below a tenth.
        noise: error of one gradient, relative to its length: that of rounding, or as observed.
        gradients: number of gradients sampled.
        calls: number of calls of the function, or of the gradient if one was given.
        singular_values: those of the matrix of gradients, each of length one or less, descending.
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

    Points are Gaussian around zero. Differences choose their own step and, down to a thousandth of
    ``scale``, their own scale of the points. A direction that no sampled point shows is not
    counted: one that matters only on a small set needs points from that set.

    Args:
        function: takes a point of shape (dimension,) and returns a scalar.
        dimension: dimension of the points.
        gradient: a function from a point to its gradient in torch, numpy or JAX (for a JAX function
            write ``lambda x: jax.grad(f)(x.numpy())``); or "automatic" for differentiation by
            torch, which falls back to differences if the result has no graph; or "differences".
        scale: standard deviation of the points.
        dtype: dtype of the points, float32 or float64.
        generator: random generator that draws the points.

    Raises:
        InputError: a dimension, scale, dtype or result that is not valid.
        NonFiniteError: a gradient with NaN or infinity.

    Cost: r + 8 to r + 16 gradients if there is a cliff, 3·dimension if not. A gradient by
        differences takes 4·dimension calls, and the choice of the step about 4,000 more in float32,
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
    """Gradients at random points, with a count of the calls."""

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
                found = torch.from_numpy(np.array(found))  # a copy: JAX arrays are read-only
            except (TypeError, ValueError) as error:
                raise InputError(f"a gradient is a {type(found).__name__}: {error}") from error
        return found.detach()

    @property
    def calls(self) -> int:
        """Number of calls so far of the function or gradient that was given."""
        return self.count()


class _Counted:
    """A function that knows how often it was called."""

    def __init__(self, function: Black) -> None:
        self.function, self.calls = function, 0

    def __call__(self, point: Tensor) -> Any:
        self.calls += 1
        return self.function(point)

    def value(self, point: Tensor) -> float:
        """The value as a float, without a graph."""
        with torch.no_grad():
            return _number(self(point))

    def slope(self, point: Tensor) -> Tensor:
        """The gradient by automatic differentiation."""
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
    """Gradients by the chosen way."""
    rounding = 30 * torch.finfo(dtype).eps

    def point() -> Tensor:
        return scale * torch.randn(dimension, dtype=dtype, generator=generator)

    if callable(gradient):
        counted = _Counted(gradient)
        return _Sampler(counted, point, rounding, lambda: counted.calls)
    if gradient not in ("automatic", "differences"):
        raise InputError(f"gradient={gradient!r}: give a function, 'automatic' or 'differences'")
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
        warnings.simplefilter("ignore")  # torch warns when a tensor with a graph becomes a number
        try:
            result = function(point.requires_grad_())
        except RuntimeError:  # a tensor with a graph was passed to numpy
            return False
    if not (isinstance(result, Tensor) and result.requires_grad):
        return False
    _number(result)
    return True


def _number(result: Any) -> float:
    """Convert a result to a float.

    Raises:
        InputError: it is not one real number.
    """
    try:
        if math.prod(getattr(result, "shape", ())) == 1:
            return float(result.item() if hasattr(result, "item") else result)
    except (TypeError, ValueError):
        pass  # the error below says what it is
    shape = f" of shape {tuple(result.shape)}" if hasattr(result, "shape") else ""
    raise InputError(
        f"the function gave a {type(result).__name__}{shape}; expected one real number"
    )


def _checked(gradient: Tensor, dimension: int) -> Float64[Tensor, " n"]:
    """Check a gradient and return it in float64.

    Raises:
        InputError: its shape is not that of a point. NonFiniteError for NaN and infinity.
    """
    if gradient.shape != (dimension,) or gradient.dtype not in WORKING:
        got = f"{gradient.dtype} of shape {tuple(gradient.shape)}"
        raise InputError(f"a gradient is {got}; expected floating point of shape ({dimension},)")
    gradient = gradient.double().cpu()
    if not gradient.isfinite().all():
        raise NonFiniteError("a gradient holds NaN or infinity; try a smaller scale")
    return gradient


def _cliff(gradients: Float64[Tensor, "k n"], noise: float) -> tuple[int, float, Tensor]:
    """Rank, gap and singular values; the rank is where the steepest drop into the noise starts.

    Gradients are scaled to unit length. Those shorter than the median are divided by the median
    length instead, because their noise is no smaller than that of the others.
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
    complete = len(rows) > rows.shape[1]  # more gradients than dimensions, and no value is noise
    return len(values), float(values[-1]) / floor if complete else 0.0, values

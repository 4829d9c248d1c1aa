"""Scales chosen for what they cost once every rounding error is passed on.

The target of an entry is its weight plus what others have passed on to it. To the scale, that is
noise around the weight, and both triangles together tell its variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from eckart.linalg.rounding.checks import as_stack
from eckart.linalg.rounding.grids import Grid, span_width
from eckart.linalg.rounding.packing import check_bits
from eckart.linalg.rounding.spans import Spans, spans_of
from eckart.linalg.rounding.triangles import Triangle

_SOME = 128  # rows, or inputs, that speak for all
_RATIOS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.6, 2.0)  # at 1 no weight is clipped


@dataclass(frozen=True, eq=False)
class Choice:
    """A grid, and what rounding to it with feedback is expected to cost.

    Attributes:
        grid: with the scales as they are stored.
        loss: ``½ Σ_ij D_G,i D_A,j E[η_ij²]``, summed over groups.
    """

    grid: Grid
    loss: float


def choose_grid(
    weight: Float[Tensor, "*b out in"],
    bits: int,
    span: int | None = None,
    *,
    a: Triangle | None = None,
    g: Triangle | None = None,
    symmetric: bool = True,
    dtype: torch.dtype | None = None,
) -> Choice:
    """The scale of each row and span that is expected to lose least, before anything is rounded.

    It is the best of a few multiples of the one at which no weight is clipped.

    Args:
        weight: W; float16 to float64.
        bits: 2 to 8.
        span: inputs that share a scale; None is the whole row.
        a: of the damped second moment of the inputs; None is the identity.
        g: of that of the output gradients; None is the identity.
        symmetric: False stores a code of zero for each scale. That helps where most weights of a
            span are on one side of zero.
        dtype: of the scales. None is float16, or bfloat16 if a scale would be subnormal or too
            large in float16.

    Raises:
        InputError: a width, a span or shapes that do not fit. NonFiniteError for NaN and infinity.

    Cost: about 400 · out · in elementwise, and O(in³ + out³) once per triangle.

    Example:
        >>> choice = choose_grid(torch.tensor([[-8.0, 1.0, 3.0, 7.0]]), bits=4)
        >>> choice.grid.scale.tolist()
        [[1.0]]
    """
    spans = _checked(weight, bits, span, a, g, symmetric)
    found = _best(spans, _guessed(spans), dtype or _scale_dtype(spans.unit))
    shape = (*weight.shape[:-1], found.scale.shape[-1])
    stored = None if symmetric else found.zero.to(torch.uint8).reshape(shape)
    grid = Grid(found.scale.reshape(shape), stored, bits, spans.weights.shape[-1])
    return Choice(grid, float(_in_loss(found.weighted, spans, g).sum()))


def width_losses(
    weight: Float[Tensor, "*b out in"],
    a: Triangle | None = None,
    g: Triangle | None = None,
    *,
    bits: Sequence[int] = (2, 3, 4, 5, 6, 8),
    spans: Sequence[int | None] = (None,),
    symmetric: bool = True,
) -> Float64[Tensor, "bits spans"]:
    """The expected loss of every width and span, from the grids that would be used.

    On the layers of a ResNet-20 it is within a fifth of what rounding then loses from 4 bits on
    (one at 8 bits: 1.23), and within a third at 2 and 3 bits, where much is clipped. It assumes
    that a row can take up what others pass on to it. Where rows of very unequal size are strongly
    correlated under ``G``, the small ones cannot, and the loss is overestimated.

    Of more than 256 rows, 128 speak for all. On two blocks of SmolLM2-135M, this changes losses by
    at most 3 %.

    Args:
        weight: W; float16 to float64.
        a: as for `choose_grid`.
        g: as for `choose_grid`.
        bits: widths.
        spans: inputs that share a scale; None is the whole row.
        symmetric: as for `choose_grid`.

    Cost: that of `choose_grid` for each of them; the 6 widths of all layers of a ResNet-20 take
        0.5 s of one core. Of a tall weight, 128 rows count.
    """
    losses = [
        [_expected(_checked(weight, b, span, a, g, symmetric), g) for span in spans] for b in bits
    ]
    return torch.tensor(losses, dtype=torch.float64)


def _checked(
    weight: Tensor, bits: int, span: int | None, a: Triangle | None, g: Triangle | None, even: bool
) -> Spans:
    """The spans of a weight whose shape and width can be used."""
    check_bits(bits)
    flat = as_stack(weight, a, g)
    return spans_of(flat, bits, span_width(flat.shape[-1], span), a, g, symmetric=even)


def _expected(spans: Spans, g: Triangle | None) -> float:
    """The expected loss of the best grid, from a sample of rows where there are many."""
    dtype = _scale_dtype(spans.unit)
    unclipped = _in_loss((spans.unit.square() * spans.costs.sum(-1)).sum(-1) / 12, spans, g)
    if unclipped.shape[-1] <= 2 * _SOME or not unclipped.any():
        return float(_in_loss(_best(spans, _guessed(spans), dtype).weighted, spans, g).sum())
    guess = _guessed(spans.thinned(-(-spans.inputs // _SOME)))
    known = unclipped.sum(0)
    sample, weights = _sample(known)
    some = spans.some(sample)
    found = _in_loss(_best(some, guess, dtype).weighted, some, g).sum(0)
    return float((found @ weights) / (known[sample] @ weights) * known.sum())


def _sample(loss: Float64[Tensor, " out"]) -> tuple[Int64[Tensor, " some"], Tensor]:
    """Rows, and what each of them counts: half of them are drawn by their loss, and half evenly."""
    chance = loss / loss.mean() + 1
    order = loss.argsort()
    reached = chance[order].cumsum(0)
    at = (torch.arange(_SOME, dtype=loss.dtype, device=loss.device) + 0.5) / _SOME * reached[-1]
    found = torch.searchsorted(reached, at).clamp_max_(len(order) - 1)
    places, times = found.unique_consecutive(return_counts=True)
    rows = order[places]
    return rows, times / chance[rows]


def _in_loss(
    rows: Float64[Tensor, "b out"], spans: Spans, g: Triangle | None
) -> Float64[Tensor, "b out"]:
    """``Σ_j D_A,j η_ij²`` of rows as parts of the loss."""
    return 0.5 * (rows if g is None else rows * spans.of(g.costs.reshape(-1, g.costs.shape[-1])))


@dataclass(frozen=True, eq=False)
class _Best:
    """A grid, and the errors expected of each row.

    Attributes:
        scale, zero: of the spans.
        mean: of ``η_ij²`` over the inputs.
        weighted: ``Σ_j D_A,j η_ij²``.
    """

    scale: Tensor
    zero: Float64[Tensor, "b out spans"]
    mean: Float64[Tensor, "b out"]
    weighted: Float64[Tensor, "b out"]


def _guessed(spans: Spans) -> Float64[Tensor, "b out"]:
    """The mean squared error of each row at one ratio, where nothing else was clipped."""
    rows = spans.unit.square().mean(-1) / 12
    ratio = 1.1 if spans.bits <= 3 else 1.0
    return _best(spans, rows, torch.float64, (ratio,)).mean


def _best(
    spans: Spans,
    rows: Float64[Tensor, "b all"],
    dtype: torch.dtype,
    ratios: Sequence[float] | None = None,
) -> _Best:
    """The best of some ratios, where all rows have these errors."""
    largest = spans.costs.amax()
    costs = (spans.costs / largest).float()
    ratios = _ratios(spans.bits) if ratios is None else ratios
    noise = spans.noise(rows)
    found = [(spans.errors(*spans.at(r, dtype), noise) * costs).sum(-1) for r in ratios]
    best = spans.unit.new_tensor(ratios)[torch.stack(found).argmin(0)]
    scale, zero = spans.at(best, dtype)
    errors = spans.errors(scale, zero, noise)
    weighted = (errors * costs).sum(-1) * spans.unit.square()
    return _Best(scale, zero, spans.mean(errors), weighted.sum(-1) * largest)


def _ratios(bits: int) -> tuple[float, ...]:
    """Which are tried. Many codes need no extremes."""
    return _RATIOS if bits <= 3 else _RATIOS[0 if bits == 4 else 3 : 9]


def _scale_dtype(unit: Float64[Tensor, "b out spans"]) -> torch.dtype:
    """float16, unless a scale that is not 0 would leave its normal numbers."""
    half, used = torch.finfo(torch.float16), unit[unit > 0]
    low, high = used * _RATIOS[0] >= half.smallest_normal, used * _RATIOS[-1] <= half.max
    return torch.float16 if bool((low & high).all()) else torch.bfloat16

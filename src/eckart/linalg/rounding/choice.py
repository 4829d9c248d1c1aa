"""Scales chosen for what they cost once every rounding error is passed on.

The target of an entry is its weight plus what others have passed on to it. To the scale, that is
noise around the weight, and both triangles together tell its variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from eckart.linalg.rounding.checks import as_stack
from eckart.linalg.rounding.grids import Grid, span_width
from eckart.linalg.rounding.packing import check_bits
from eckart.linalg.rounding.spans import Spans, spans_of
from eckart.linalg.rounding.triangles import Triangle

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
    check_bits(bits)
    flat = as_stack(weight, a, g)
    spans = spans_of(flat, bits, span_width(flat.shape[-1], span), a, g, symmetric=symmetric)
    scale, zero, rows = _best(spans, dtype or _scale_dtype(spans.unit))
    shape = (*weight.shape[:-1], scale.shape[-1])
    stored = None if symmetric else zero.to(torch.uint8).reshape(shape)
    grid = Grid(scale.reshape(shape), stored, bits, spans.weights.shape[-1])
    weighted = rows if g is None else rows * g.costs.reshape(-1, rows.shape[-1])
    return Choice(grid, 0.5 * float(weighted.sum()))


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

    Args:
        weight: W; float16 to float64.
        a: as for `choose_grid`.
        g: as for `choose_grid`.
        bits: widths.
        spans: inputs that share a scale; None is the whole row.
        symmetric: as for `choose_grid`.

    Cost: that of `choose_grid` for each of them; the 6 widths of all layers of a ResNet-20 take
        0.5 s of one core.
    """
    losses = [
        [choose_grid(weight, b, span, a=a, g=g, symmetric=symmetric).loss for span in spans]
        for b in bits
    ]
    return torch.tensor(losses, dtype=torch.float64)


def _best(
    spans: Spans, dtype: torch.dtype
) -> tuple[Tensor, Float64[Tensor, "b out spans"], Float64[Tensor, "b out"]]:
    """Scales, codes of zero, and the expected ``Σ_j D_A,j η_ij²`` of each row."""
    largest = spans.costs.amax()
    costs = (spans.costs / largest).float()
    rows = spans.unit.square().mean(-1) / 12
    for ratios in _ratios(spans.bits):
        noise = spans.noise(rows)
        found = [(spans.errors(*spans.at(r, dtype), noise) * costs).sum(-1) for r in ratios]
        best = spans.unit.new_tensor(ratios)[torch.stack(found).argmin(0)]
        scale, zero = spans.at(best, dtype)
        errors = spans.errors(scale, zero, noise)
        rows = spans.mean(errors)
    weighted = (errors * costs).sum(-1) * spans.unit.square()
    return scale, zero, weighted.sum(-1) * largest


def _ratios(bits: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """At which ratio the noise is guessed, and which are tried. Many codes need no extremes."""
    if bits <= 3:
        return (1.1,), _RATIOS
    return (1.0,), _RATIOS[0 if bits == 4 else 3 : 9]


def _scale_dtype(unit: Float64[Tensor, "b out spans"]) -> torch.dtype:
    """float16, unless a scale that is not 0 would leave its normal numbers."""
    half, used = torch.finfo(torch.float16), unit[unit > 0]
    low, high = used * _RATIOS[0] >= half.smallest_normal, used * _RATIOS[-1] <= half.max
    return torch.float16 if bool((low & high).all()) else torch.bfloat16

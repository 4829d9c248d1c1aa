"""A weight cut into the spans that share a scale, in units in which its scale is about 1."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor
from torch.nn.functional import pad

from eckart.linalg.rounding.grids import centre
from eckart.linalg.rounding.triangles import Triangle

_ROOT_HALF, _PEAK = 0.5**0.5, 0.3989422804  # the second is 1 / √(2π)
_QUIET, _LOUD = 1e-6, 1e15
_FAR = 8.0  # deviations; more would make subnormal numbers, which are slow


@dataclass(frozen=True, eq=False)
class Spans:
    """What the choice of scales looks at, and what it expects of them.

    Attributes:
        bits: 2 to 8.
        unit: the least scale that clips no weight, shape (b, out, spans); 0 where all are 0.
        sign: of the scale, of the same shape.
        middle: of the span, in units, if its code of zero is free; None for a symmetric grid.
        weights: in signed units, shape (b, out, spans, span); 0 past the end of a row.
        costs: ``D_A``, shape (b or 1, 1, spans, span); 0 past the end of a row.
        heard: variance in each input per variance of the errors of its row, of the same shape.
        echoes: the same between rows, (b, all rows, out); None is the identity.
        inputs: how many a row has.
        sample: which of all rows these are, shape (out); None is all.
    """

    bits: int
    unit: Float64[Tensor, "b out spans"]
    sign: Float64[Tensor, "b out spans"]
    middle: Float64[Tensor, "b out spans"] | None
    weights: Float32[Tensor, "b out spans span"]
    costs: Float64[Tensor, "groups 1 spans span"]
    heard: Float64[Tensor, "groups 1 spans span"]
    echoes: Float64[Tensor, "b all out"] | None
    inputs: int
    sample: Int64[Tensor, " out"] | None = None

    def some(self, rows: Int64[Tensor, " some"]) -> Spans:
        """Those of some rows alone."""
        return replace(
            self,
            unit=self.unit[:, rows],
            sign=self.sign[:, rows],
            middle=None if self.middle is None else self.middle[:, rows],
            weights=self.weights[:, rows],
            echoes=None if self.echoes is None else self.echoes[:, :, rows],
            sample=rows,
        )

    def of(self, every: Float64[Tensor, "b all"]) -> Float64[Tensor, "b out"]:
        """What is known of every row, of these rows."""
        return every if self.sample is None else every[:, self.sample]

    def thinned(self, step: int) -> Spans:
        """Every so many inputs of each span, for means over rows."""
        heard = self.heard[..., ::step]
        return replace(
            self,
            weights=self.weights[..., ::step],
            costs=self.costs[..., ::step],
            heard=heard,
            inputs=int((heard[0] > 0).sum()),
        )

    def noise(self, row: Float64[Tensor, "b all"]) -> Float32[Tensor, "b out spans span"]:
        """The deviation of targets from weights, in units, from the mean squared error of all rows.

        Errors are taken as uncorrelated, and as alike along a row.
        """
        own = self.of(row)
        rows = own if self.echoes is None else (row[:, None] @ self.echoes)[:, 0]
        variance = rows[..., None, None] * self.heard - own[..., None, None]
        deviation = variance.clamp_min_(0).sqrt_() / _or_one(self.unit)[..., None]
        return deviation.clamp_(_QUIET, _LOUD).float()

    def at(
        self, ratio: float | Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Float64[Tensor, "b out spans"]]:
        """Scales at a multiple of the unit, as they are stored, and their codes of zero."""
        scale = (self.unit * self.sign * ratio).to(dtype)
        if self.middle is None:
            return scale, torch.full_like(self.unit, centre(self.bits))
        top = 2**self.bits - 1
        return scale, (top / 2 - self.middle / ratio).round_().clamp_(0, top)

    def errors(
        self, scale: Tensor, zero: Tensor, noise: Float32[Tensor, "b out spans span"]
    ) -> Float32[Tensor, "b out spans span"]:
        """Expected squared rounding errors in units: ``s² / 12``, and what is clipped.

        With Gaussian noise of deviation σ, and the nearer edge of the grid at a distance of d,
        clipping adds ``E (x − d)₊² + s E (x − d)₊``.
        """
        step = (scale.double() * self.sign / _or_one(self.unit)).float()[..., None]
        above = (2**self.bits - 0.5 - zero).float()[..., None] * step - self.weights
        below = (zero + 0.5).float()[..., None] * step + self.weights
        edge = torch.minimum(above, below).div_(noise).clamp_max_(_FAR)
        beyond = torch.erfc(edge * _ROOT_HALF).mul_(0.5)
        density = (edge.square() * -0.5).exp_().mul_(_PEAK)
        first = density.sub_(edge * beyond).mul_(noise)
        second = beyond.mul_(noise).sub_(edge.mul_(first)).mul_(noise)
        return second.addcmul_(first, step).add_(step.square() / 12)

    def mean(self, errors: Float32[Tensor, "b out spans span"]) -> Float64[Tensor, "b out"]:
        """The mean of errors over each row, in units of the weight."""
        total = (errors * (self.heard > 0)).sum(-1).double() * self.unit.square()
        return total.sum(-1) / self.inputs


def spans_of(
    weight: Float64[Tensor, "b out in"],
    bits: int,
    width: int,
    a: Triangle | None,
    g: Triangle | None,
    *,
    symmetric: bool,
) -> Spans:
    """Cut a weight, and find its units and signs.

    A symmetric grid reaches one code further on one side. The sign of the scale puts that side
    where the largest weight is.
    """
    inputs = weight.shape[-1]
    cut = _cut(weight, width)
    low, high = torch.aminmax(cut, dim=-1)
    middle = None
    if symmetric:
        unit = torch.maximum(high, -low) / centre(bits)
        sign = torch.where(high > -low, -1.0, 1.0).to(unit)
    else:
        low, high = low.clamp_max(0), high.clamp_min(0)
        unit, sign = (high - low) / (2**bits - 1), torch.ones_like(low)
        middle = (high + low) / 2 / _or_one(unit)
    weights = (cut / (_or_one(unit) * sign)[..., None]).float()
    ones = weight.new_ones(1, inputs)
    costs, heard = (ones, ones) if a is None else (a.costs, a.heard)
    costs, heard = (_cut(part.reshape(-1, 1, inputs), width).to(weight) for part in (costs, heard))
    echoes = None if g is None or g.is_diagonal else g.echoes.reshape(-1, *g.lower.shape[-2:])
    return Spans(bits, unit, sign, middle, weights, costs, heard, echoes, inputs)


def _cut(rows: Tensor, width: int) -> Tensor:
    """Rows cut into spans, the last one filled with zeros."""
    missing = -rows.shape[-1] % width
    spans: Tensor = pad(rows, (0, missing)).unflatten(-1, (-1, width))
    return spans


def _or_one(values: Tensor) -> Tensor:
    return torch.where(values == 0, 1.0, values)

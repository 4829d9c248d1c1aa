"""Bounds on a mean that hold at every number of examples at once, so one may stop at any.

Numbers with known bounds are bet on. Somebody who starts with 1 and bets a fraction of it, example
after example, that the mean is below ``m`` does not gain on average if it is not. By Ville's
inequality, the chance to ever own ``1 / error`` is then at most ``error``. So the first ``m`` that
makes the wealth reach this is an upper bound on the mean, however many examples were looked at.
The stake is spread over several fixed fractions.

Without known bounds no finite number of examples proves anything, and the bound is asymptotic: as
good as the normal approximation after the first few dozen examples.

Source: Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting",
    2010.09686, section 4; Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024, "Time-uniform central
    limit theory and asymptotic confidence sequences", 2103.06476, one-sided boundary.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

_FRACTIONS = 0.95 * 0.5 ** torch.arange(10, dtype=torch.float64)  # of what one can lose
_STAKES = (1 / torch.arange(1, 11, dtype=torch.float64)).log()
_STAKES = _STAKES - _STAKES.logsumexp(0)  # most on large fractions, which win where nothing differs
_FIRST = 64  # examples, before which the normal approximation says too little
_HALVINGS = 50


@final
@dataclass(frozen=True)
class Evidence:
    """What differences between two networks, in the order they were seen, say about their mean.

    Attributes:
        differences: how much worse each example is, shape (n,).
        error: the chance with which a bound may be wrong.
        most: the largest absolute difference that is possible; None if there is none.
        typical: for differences without bounds: the size of one more difference that is assumed
            to have been seen, so that a few equal ones do not pass for certainty.
        planned: for differences without bounds: the number of examples for which the bound is
            tightest.
    """

    differences: Float64[Tensor, " n"]
    error: float
    most: float | None
    typical: float = 0.0
    planned: int = 1

    def is_below(self, mean: float) -> bool:
        """Whether the mean is shown to be below this."""
        if self.most is None:
            return self._asymptotic() < mean
        if abs(mean) >= self.most:
            return mean > 0
        return bool(self._wealth(mean) >= -log(self.error))

    def is_above(self, mean: float) -> bool:
        """Whether the mean is shown to be above this."""
        return self._mirrored().is_below(-mean)

    def bound(self) -> float:
        """The upper bound on the mean."""
        if self.most is None:
            return self._asymptotic()
        low, high = -self.most, self.most
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if self.is_below(middle) else (middle, high)
        return high

    def _mirrored(self) -> Evidence:
        return Evidence(-self.differences, self.error, self.most, self.typical, self.planned)

    def _wealth(self, mean: float) -> float:
        """The logarithm of the most that was ever owned by betting that the mean is below this."""
        if self.most is None or not len(self.differences):
            return 0.0
        odds = (mean - self.differences) / (self.most - mean)
        owned = (_FRACTIONS[:, None] * odds).log1p().cumsum(1) + _STAKES[:, None]
        return float(owned.logsumexp(0).max())

    def _asymptotic(self) -> float:
        """The least upper bound at any number of examples so far."""
        if len(self.differences) < _FIRST:
            return float("inf")
        t = torch.arange(1, len(self.differences) + 1, dtype=torch.float64)
        mean = self.differences.cumsum(0) / t
        squares = self.differences.square().cumsum(0) / t - mean.square()
        variance = squares.clamp_min(0) + self.typical**2 / t
        tightness = (-2 * log(self.error) + log(1 - 2 * log(self.error))) / self.planned
        scaled = t * tightness + 1
        spread = 2 * scaled / (t * t * tightness) * (1 + scaled.sqrt() / (2 * self.error)).log()
        return float((mean + (variance * spread).sqrt())[_FIRST - 1 :].min())


def least_examples(mean: float, most: float | None, error: float) -> int:
    """How many equal examples show that the mean of the differences is below this; O(1).

    At a mean of 0 or less, no number of equal examples shows it, and the answer is 1.
    """
    if most is None:
        return _FIRST
    if not 0 < mean < most:
        return 1
    gains = (_FRACTIONS * mean / (most - mean)).log1p()
    low, high = 0, ceil((-log(error) - float(_STAKES[0])) / float(gains[0])) + 1
    while high - low > 1:
        middle = (low + high) // 2
        enough = float((gains * middle + _STAKES).logsumexp(0)) >= -log(error)
        low, high = (low, middle) if enough else (middle, high)
    return high

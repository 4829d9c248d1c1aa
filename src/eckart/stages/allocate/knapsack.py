"""The multiple-choice knapsack as a table: options are columns; one is taken per site."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Indices = NDArray[np.intp]


def unit_of(limits: Vector) -> Vector:
    """What limits are divided by, so that they are about one."""
    return np.where(limits > 0, limits, 1.0)


@dataclass(frozen=True)
class Knapsack:
    """Options as columns.

    Attributes:
        site: site of each option, ascending from 0, shape (options,).
        losses: shape (options,).
        costs: shape (costs, options).
    """

    site: Indices
    losses: Vector
    costs: Vector

    @property
    def sites(self) -> int:
        """Number of sites."""
        return int(self.site[-1]) + 1 if len(self.site) else 0

    @cached_property
    def _starts(self) -> Indices:
        """Where the options of each site begin, and where the last ones end."""
        return np.searchsorted(self.site, np.arange(self.sites + 1))

    def members(self, site: int) -> Indices:
        """The options of one site."""
        return np.arange(self._starts[site], self._starts[site + 1])

    def least(self, values: Vector) -> list[int]:
        """The option of least value at each site; the first of equal ones."""
        starts = self._starts[:-1]
        if len(starts) == 0:
            return []
        lowest = np.minimum.reduceat(values, starts)
        at = np.flatnonzero(values == lowest[self.site])
        picked: list[int] = at[np.searchsorted(at, starts)].tolist()
        return picked

    def fits(self, picked: list[int], limits: Vector) -> bool:
        """Whether a choice meets every limit."""
        return bool((self.costs[:, picked].sum(1) <= limits).all())

    def loss(self, picked: list[int]) -> float:
        """Sum of the losses of a choice."""
        return float(self.losses[picked].sum())

    def within(self, options: Indices) -> Knapsack:
        """The problem with only these options."""
        return Knapsack(self.site[options], self.losses[options], self.costs[:, options])

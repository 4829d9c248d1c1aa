"""The multiple-choice knapsack as a table: options are columns; one is taken per site."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Indices = NDArray[np.intp]


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

    def members(self, site: int) -> Indices:
        """The options of one site."""
        return np.flatnonzero(self.site == site)

    def least(self, values: Vector) -> list[int]:
        """The option of least value at each site."""
        return [int(m[np.argmin(values[m])]) for m in map(self.members, range(self.sites))]

    def fits(self, picked: list[int], limits: Vector) -> bool:
        """Whether a choice meets every limit."""
        return bool((self.costs[:, picked].sum(1) <= limits).all())

    def loss(self, picked: list[int]) -> float:
        """Sum of the losses of a choice."""
        return float(self.losses[picked].sum())

    def within(self, options: Indices) -> Knapsack:
        """The problem with only these options."""
        return Knapsack(self.site[options], self.losses[options], self.costs[:, options])

"""A knapsack whose sites depend on one another through shared variables.

A site's options are open only in some joint states of its variables. For example, a form of a layer
is open only at the widths that the channel groups leave to the layer. At fixed prices per unit of
cost, the best states and options are found exactly, by eliminating one variable at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from eckart.stages.allocate.elimination import States, least_sum
from eckart.stages.allocate.knapsack import Indices, Knapsack, Vector


@dataclass(frozen=True)
class Column:
    """A choice that is best at some prices."""

    picked: list[int]
    states: States
    loss: float
    costs: Vector


@dataclass(frozen=True)
class Coupled:
    """Options as columns, ordered by site and, within a site, by cell.

    Attributes:
        options: losses and costs of all options.
        scopes: the variables of each site; often empty.
        cell: for each option, the index of its joint state in its site's table.
        states: number of states of each variable.
    """

    options: Knapsack
    scopes: tuple[States, ...]
    cell: Indices
    states: States

    def best(self, prices: Vector, loss: float = 1.0) -> tuple[Column, float]:
        """The choice of least ``loss · losses + prices · costs``, and a lower bound on that sum."""
        values = loss * self.options.losses + prices @ self.options.costs
        tables = self.tables(values)
        states, bound = least_sum(list(zip(self.scopes, tables, strict=True)), self.states)
        picked = [self._argmin(site, self.at(site, states), values) for site in range(len(tables))]
        column = Column(
            picked, states, self.options.loss(picked), self.options.costs[:, picked].sum(1)
        )
        return column, bound

    def fixed(self, states: States) -> Indices:
        """The options that are open in a joint state of all variables."""
        wanted = np.array([self.at(site, states) for site in range(len(self.scopes))])
        return np.flatnonzero(self.cell == wanted[self.options.site])

    def at(self, site: int, states: States) -> int:
        """Index of a site's table entry."""
        index = 0
        for variable in self.scopes[site]:
            index = index * self.states[variable] + states[variable]
        return index

    @cached_property
    def _edges(self) -> tuple[Indices, Indices, Indices]:
        """For each cell, where its options begin, its site and its index."""
        key = np.stack([self.options.site, self.cell])
        starts = np.flatnonzero(np.any(np.diff(key, axis=1, prepend=-1), axis=0))
        return starts, self.options.site[starts], self.cell[starts]

    def tables(self, values: Vector) -> list[Vector]:
        """The least value of every cell, by site; infinite if no option is open in it."""
        starts, sites, cells = self._edges
        least = np.minimum.reduceat(values, starts)
        shapes = [tuple(self.states[v] for v in scope) for scope in self.scopes]
        offsets = np.cumsum([0, *(prod(shape) for shape in shapes)])
        flat = np.full(offsets[-1], np.inf)
        flat[offsets[sites] + cells] = least
        return [flat[a:b].reshape(s) for a, b, s in zip(offsets, offsets[1:], shapes, strict=False)]

    def _argmin(self, site: int, cell: int, values: Vector) -> int:
        starts, sites, cells = self._edges
        place = int(np.flatnonzero((sites == site) & (cells == cell))[0])
        stop = starts[place + 1] if place + 1 < len(starts) else len(values)
        return int(starts[place] + values[starts[place] : stop].argmin())

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

    @property
    def spent(self) -> float:
        """What the choice spends of the first cost."""
        return float(self.costs[0])


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
        flat = self.table(values)
        tables = [
            flat[a:b].reshape(shape)
            for a, b, shape in zip(self._offsets, self._offsets[1:], self._shapes, strict=False)
        ]
        states, bound = least_sum(list(zip(self.scopes, tables, strict=True)), self.states)
        open_now = self.fixed(states)
        problem = self.options.within(open_now)
        picked = open_now[problem.least(values[open_now])].tolist()
        costs = self.options.costs[:, picked].sum(1)
        return Column(picked, states, self.options.loss(picked), costs), bound

    def fixed(self, states: States) -> Indices:
        """The options that are open in a joint state of all variables."""
        starts, stops, _ = self._edges
        edges = self._place[self.cells(states)]
        edges = edges[edges >= 0]
        lengths = stops[edges] - starts[edges]
        before = lengths.cumsum() - lengths
        found: Indices = np.arange(lengths.sum()) + np.repeat(starts[edges] - before, lengths)
        return found

    def cells(self, states: States) -> Indices:
        """Where every site's joint state is in the tables of all sites, one after another."""
        return self._offsets[:-1] + self._strides @ np.array(states, np.intp)

    def table(self, values: Vector) -> Vector:
        """The least value of every cell, of all sites; infinite if no option is open in it."""
        starts, _, cells = self._edges
        flat = np.full(self._offsets[-1], np.inf)
        flat[cells] = np.minimum.reduceat(values, starts)
        return flat

    @cached_property
    def _shapes(self) -> list[States]:
        """The number of states of each of a site's variables."""
        return [tuple(self.states[v] for v in scope) for scope in self.scopes]

    @cached_property
    def _offsets(self) -> Indices:
        """Where every site's table begins, and where the last one ends."""
        return np.cumsum([0, *map(prod, self._shapes)]).astype(np.intp)

    @cached_property
    def _strides(self) -> Indices:
        """How far apart two states of a variable are in a site's table, (sites, variables)."""
        strides = np.zeros((len(self.scopes), len(self.states)), np.intp)
        for site, (scope, shape) in enumerate(zip(self.scopes, self._shapes, strict=True)):
            for place, variable in enumerate(scope):
                strides[site, variable] = prod(shape[place + 1 :])
        return strides

    @cached_property
    def _edges(self) -> tuple[Indices, Indices, Indices]:
        """For each cell with options: where they begin and end, and its place in the tables."""
        place = self._offsets[self.options.site] + self.cell
        starts = np.flatnonzero(np.diff(place, prepend=-1))
        return starts, np.append(starts[1:], len(place)), place[starts]

    @cached_property
    def _place(self) -> Indices:
        """For each place in the tables, the number of its cell among those with options, or -1."""
        cells = self._edges[2]
        place = np.full(self._offsets[-1], -1)
        place[cells] = np.arange(len(cells))
        return place

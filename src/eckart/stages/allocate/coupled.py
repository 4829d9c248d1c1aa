"""The knapsack whose sites depend on one another through shared variables.

A site's options are open only in some joint states of its variables: a layer's forms, at the widths
that its channel groups leave it. At fixed prices per unit of cost, the best states and options are
found exactly by eliminating one variable after the other; the prices that prove most (those of the
Lagrangian dual, by column generation) give a lower bound on every choice. Few joint states are
then tried in the order of what each promises until none can be better, which is exact; of many,
those met on the way are improved one variable at a time to a fixed point.

Source: Geoffrion 1974 (Lagrangian bounds by column generation).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from math import prod

import numpy as np

from eckart.stages.allocate.elimination import States, least_sum
from eckart.stages.allocate.knapsack import Indices, Knapsack, Vector, solve

_ROUNDS = 60  # of column generation
_STARTS = 6  # joint states that the search for a choice starts from
_FEW = 512  # joint states that are all considered
_SOLVES = 40  # knapsacks solved for one choice where there are more
_CLOSE = 1e-4  # a choice within this of the bound, relatively, is not worth a search


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
        scopes: the variables of each site; often none.
        cell: of each option, the index of its joint state in its site's table.
        states: number of states of each variable.
        met: choices that were best at some prices; they serve every limit.
    """

    options: Knapsack
    scopes: tuple[States, ...]
    cell: Indices
    states: States
    met: list[Column] = field(default_factory=list)

    def best(self, prices: Vector, loss: float = 1.0) -> tuple[Column, float]:
        """The choice of least ``loss · losses + prices · costs``, and a lower bound on that sum."""
        values = loss * self.options.losses + prices @ self.options.costs
        tables = self._tables(values)
        states, bound = least_sum(list(zip(self.scopes, tables, strict=True)), self.states)
        picked = [self._argmin(site, self._at(site, states), values) for site in range(len(tables))]
        column = Column(
            picked, states, self.options.loss(picked), self.options.costs[:, picked].sum(1)
        )
        return column, bound

    def fixed(self, states: States) -> Indices:
        """The options that are open in a joint state of all variables."""
        wanted = np.array([self._at(site, states) for site in range(len(self.scopes))])
        return np.flatnonzero(self.cell == wanted[self.options.site])

    def _at(self, site: int, states: States) -> int:
        """Index of a site's table entry."""
        index = 0
        for variable in self.scopes[site]:
            index = index * self.states[variable] + states[variable]
        return index

    @cached_property
    def _edges(self) -> tuple[Indices, Indices, Indices]:
        """Where each cell's options begin, and its site and index."""
        key = np.stack([self.options.site, self.cell])
        starts = np.flatnonzero(np.any(np.diff(key, axis=1, prepend=-1), axis=0))
        return starts, self.options.site[starts], self.cell[starts]

    def _tables(self, values: Vector) -> list[Vector]:
        """The least value of every cell, by site; infinite where no option is open."""
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


def solve_coupled(problem: Coupled, limits: Vector) -> tuple[list[int] | None, float]:
    """The best choice found, one option per site, and a lower bound on the loss of any choice.

    With few joint states it is the best there is, and its loss the bound; with many it is never
    worse than the best of the last joint state.

    Returns:
        None in place of the choice when none was found that meets all limits.
    """
    freest, bound = problem.best(np.zeros(len(limits)))
    if (freest.costs <= limits).all():
        return freest.picked, bound
    prices, bound = _dual(problem, limits)
    return _searched(problem, limits, prices, max(bound, 0.0))


def coupled_hull(problem: Coupled, most: int = 200) -> list[Column]:
    """Choices on the lower convex hull of loss against the first cost, cheapest first.

    Vertices are found by asking at the slope between two neighbours whether something lies below
    their line, where the gap may be widest first.
    """
    unit = np.zeros(len(problem.options.costs))
    unit[0] = 1.0
    cheapest = problem.best(unit, loss=1e-9 * _scale(problem))[0]  # of those, the least loss
    freest = problem.best(unit * 1e-12 / _scale(problem))[0]
    if freest.costs[0] <= cheapest.costs[0]:
        return [cheapest]
    hull, edges = [cheapest, freest], [(cheapest, freest)]
    while edges and len(hull) < most:
        edges.sort(key=lambda e: (e[0].loss - e[1].loss) * (e[1].costs[0] - e[0].costs[0]))
        left, right = edges.pop()
        slope = (left.loss - right.loss) / (right.costs[0] - left.costs[0])
        line = left.loss + slope * left.costs[0]
        middle, value = problem.best(slope * unit)
        inside = left.costs[0] < middle.costs[0] < right.costs[0]
        if inside and value < line * (1 - 1e-9):
            hull.append(middle)
            edges += [(left, middle), (middle, right)]
    return sorted(hull, key=lambda column: float(column.costs[0]))


def _scale(problem: Coupled) -> float:
    cost = max(problem.options.costs[0].max(), 1.0)
    return float(cost / max(problem.options.losses.max(), 1e-200))


def _dual(problem: Coupled, limits: Vector) -> tuple[Vector, float]:
    """The prices that prove the highest lower bound, by column generation."""
    units = np.maximum(limits, 1.0)
    if not problem.met:
        for metric in range(len(limits)):
            prices = np.zeros(len(limits))
            prices[metric] = 1.0
            problem.met.append(problem.best(prices, loss=0.0)[0])
        problem.met.append(problem.best(np.zeros(len(limits)))[0])
    scale = max(max(column.loss for column in problem.met), 1e-300)
    best, proved = np.zeros(len(limits)), 0.0
    for _ in range(_ROUNDS):
        prices, value = _master(problem.met, limits / units, units, scale)
        column, least = problem.best(prices)
        bound = least - float(prices @ limits)
        if bound > proved:
            best, proved = prices, bound
        if bound >= value - 1e-6 * abs(value):
            break
        problem.met.append(column)
    return best, proved


def _master(
    met: Sequence[Column], limits: Vector, units: Vector, scale: float
) -> tuple[Vector, float]:
    """Prices at which no mixture of the choices met so far does better within the limits."""
    from scipy.optimize import linprog  # slow to import, and only needed here

    losses = np.array([column.loss for column in met]) / scale
    costs = np.stack([column.costs / units for column in met], 1)
    slack = 1e3 * (1 + losses.max())  # to overstep a limit must never pay
    result = linprog(
        np.concatenate([losses, np.full(len(limits), slack)]),
        A_ub=np.concatenate([costs, -np.eye(len(limits))], 1),
        b_ub=limits,
        A_eq=np.concatenate([np.ones(len(losses)), np.zeros(len(limits))])[None],
        b_eq=[1.0],
    )
    prices = np.maximum(-result.ineqlin.marginals, 0.0)
    return prices / units * scale, float(result.fun) * scale


def _searched(
    problem: Coupled, limits: Vector, prices: Vector, bound: float
) -> tuple[list[int] | None, float]:
    """Solve the knapsack in the most promising joint states, and in their neighbours.

    Returns:
        The best choice, and the bound: its own loss where all joint states were considered.
    """
    values = problem.options.losses + prices @ problem.options.costs
    tables = problem._tables(values)
    tried: dict[States, float] = {}
    best: list[int] | None = None
    least = np.inf

    def promise(states: States) -> float:
        """Lower bound on the loss of a choice in these states."""
        entries = (t.flat[problem._at(i, states)] for i, t in enumerate(tables))
        return float(sum(entries) - prices @ limits)

    def attempt(states: States) -> bool:
        nonlocal best, least
        if states in tried or promise(states) >= least:
            return False
        open_now = problem.fixed(states)
        picked = solve(problem.options.within(open_now), limits)
        tried[states] = np.inf
        if picked is None:
            return False
        chosen = [int(open_now[i]) for i in picked]
        tried[states] = problem.options.loss(chosen)
        if tried[states] >= least:
            return False
        best, least = chosen, tried[states]
        return True

    if prod(problem.states) <= _FEW:
        for states in sorted(product(*map(range, problem.states)), key=promise):
            attempt(states)
        return best, bound if best is None else least
    starts = sorted({column.states for column in problem.met}, key=promise)
    whole = tuple(count - 1 for count in problem.states)  # nothing coupled: never worse than that
    for states in [*starts[:_STARTS], whole]:
        attempt(states)
    if best is None:  # hardly anything fits: whatever is cheapest by one cost may
        for states in starts:
            attempt(states)
    while best is not None and least > bound * (1 + _CLOSE):
        here = next(states for states, loss in tried.items() if loss == least)
        others = sorted(_neighbours(problem, here), key=promise)
        if not any(len(tried) < _SOLVES and attempt(other) for other in others):
            break
    return best, bound


def _neighbours(problem: Coupled, states: States) -> Iterator[States]:
    """Joint states that differ in one variable, by up to two steps."""
    for variable, count in enumerate(problem.states):
        for step in (-2, -1, 1, 2):
            if 0 <= states[variable] + step < count:
                moved = list(states)
                moved[variable] += step
                yield tuple(moved)

"""The best choice of a coupled knapsack: the joint states of its variables that are worth a try.

Few joint states are tried in the order of what each promises until none can be better, which is
exact. Of many, those that were best at some prices are tried, and the best of them is improved one
variable at a time to a fixed point.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod

import numpy as np

from eckart.stages.allocate.coupled import Coupled
from eckart.stages.allocate.dual import dual
from eckart.stages.allocate.elimination import States
from eckart.stages.allocate.knapsack import Vector
from eckart.stages.allocate.solving import solve

_FEW = 512  # joint states that are all considered
_STARTS = 6  # joint states that the search for a choice starts from
_SOLVES = 40  # knapsacks solved for one choice where there are more
_CLOSE = 1e-4  # a choice within this of the bound, relatively, is not worth a search


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
    proved = dual(problem, limits)
    search = _Search(problem, limits, proved.prices)
    if prod(problem.states) <= _FEW:
        for states in sorted(product(*map(range, problem.states)), key=search.promise):
            search.attempt(states)
        return search.best, proved.bound if search.best is None else search.least
    starts = sorted({column.states for column in proved.met}, key=lambda s: (search.promise(s), s))
    whole = tuple(count - 1 for count in problem.states)  # nothing coupled: never worse than that
    for states in [*starts[:_STARTS], whole]:
        search.attempt(states)
    if search.best is None:  # hardly anything fits: whatever is cheapest by one cost may
        for states in starts:
            search.attempt(states)
    search.descend(proved.bound)
    return search.best, proved.bound


class _Search:
    """Knapsacks that are solved in fixed joint states, and the best choice of them all."""

    def __init__(self, problem: Coupled, limits: Vector, prices: Vector) -> None:
        self.problem, self.limits = problem, limits
        self.best: list[int] | None = None
        self.least, self.at = np.inf, problem.states
        self.tried = set[States]()
        self._tables = problem.tables(problem.options.losses + prices @ problem.options.costs)
        self._spent = float(prices @ limits)

    def promise(self, states: States) -> float:
        """Lower bound on the loss of a choice in these states."""
        tables = enumerate(self._tables)
        entries = (table.flat[self.problem.at(site, states)] for site, table in tables)
        return float(sum(entries)) - self._spent

    def attempt(self, states: States) -> bool:
        """Whether these states hold a better choice."""
        if states in self.tried or self.promise(states) >= self.least:
            return False
        self.tried.add(states)
        open_now = self.problem.fixed(states)
        picked = solve(self.problem.options.within(open_now), self.limits, self.least)
        if picked is None:
            return False
        chosen = [int(open_now[i]) for i in picked]
        self.best, self.least = chosen, self.problem.options.loss(chosen)
        self.at = states
        return True

    def descend(self, bound: float) -> None:
        """To better neighbours, the most promising first, until there is none."""
        while self.best is not None and self.least > bound * (1 + _CLOSE):
            others = sorted(self._neighbours(), key=self.promise)
            if not any(len(self.tried) < _SOLVES and self.attempt(other) for other in others):
                break

    def _neighbours(self) -> Iterator[States]:
        """Joint states that differ in one variable, by up to two steps."""
        for variable, count in enumerate(self.problem.states):
            for step in (-2, -1, 1, 2):
                if 0 <= self.at[variable] + step < count:
                    moved = list(self.at)
                    moved[variable] += step
                    yield tuple(moved)

"""The best choice of a coupled knapsack, by trying promising joint states of its variables.

If there are few joint states, they are tried in the order of their lower bounds until no other can
be better; this is exact. If there are many, those that were best at some prices are tried. The best
of these is improved one variable at a time until nothing changes.
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

_FEW = 512  # up to this many joint states, all are considered
_STARTS = 6  # joint states that the search starts from
_SOLVES = 40  # most knapsacks solved per search if there are more joint states
_CLOSE = 1e-4  # a choice this close to the bound, relatively, is not improved any more
_WORTH = 1e-5  # a neighbour is a better place if it saves this share of the loss


def solve_coupled(problem: Coupled, limits: Vector) -> tuple[list[int] | None, float]:
    """The best choice found, one option per site, and a lower bound on the loss of any choice.

    With few joint states it is the best of all choices, and its loss is the bound. With many it is
    never worse than the best choice of the last joint state.

    Returns:
        The choice and the bound; the choice is None if none was found that meets all limits.
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
    whole = tuple(count - 1 for count in problem.states)  # all channels stay
    for states in [*starts[:_STARTS], whole]:
        search.attempt(states)
    if search.best is None:  # hardly anything fits; perhaps the cheapest choices by one cost do
        for states in starts:
            search.attempt(states)
    search.descend(proved.bound)
    return search.best, proved.bound


class _Search:
    """Solves knapsacks in fixed joint states, and keeps the best choice of all."""

    def __init__(self, problem: Coupled, limits: Vector, prices: Vector) -> None:
        self.problem, self.limits = problem, limits
        self.best: list[int] | None = None
        self.least, self.at = np.inf, problem.states
        self.tried = set[States]()
        self._table = problem.table(problem.options.losses + prices @ problem.options.costs)
        self._spent = float(prices @ limits)

    def promise(self, states: States) -> float:
        """A lower bound on the loss of any choice in these states."""
        return float(self._table[self.problem.cells(states)].sum()) - self._spent

    def attempt(self, states: States, worth: float = 0.0) -> bool:
        """Solve the knapsack in these states; whether it saved more than ``worth`` of the loss."""
        below = self.least * (1 - worth)
        if states in self.tried or self.promise(states) >= below:
            return False
        self.tried.add(states)
        open_now = self.problem.fixed(states)
        picked = solve(self.problem.options.within(open_now), self.limits, below)
        if picked is None:
            return False
        chosen = [int(open_now[i]) for i in picked]
        self.best, self.least = chosen, self.problem.options.loss(chosen)
        self.at = states
        return True

    def descend(self, bound: float) -> None:
        """Move to better neighbours, the most promising first, until there are none."""
        while self.best is not None and self.least > bound * (1 + _CLOSE):
            others = sorted(self._neighbours(), key=self.promise)
            if not any(
                len(self.tried) < _SOLVES and self.attempt(other, _WORTH) for other in others
            ):
                break

    def _neighbours(self) -> Iterator[States]:
        """Joint states that differ in one variable, by up to two steps."""
        for variable, count in enumerate(self.problem.states):
            for step in (-2, -1, 1, 2):
                if 0 <= self.at[variable] + step < count:
                    moved = list(self.at)
                    moved[variable] += step
                    yield tuple(moved)

"""A penalty for each requested size of the support: a coarse path, then bisection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from eckart.linalg.group_sparsity.duality import Certificate
from eckart.linalg.group_sparsity.problem import Problem
from eckart.linalg.group_sparsity.result import GroupLassoResult
from eckart.linalg.group_sparsity.solver import solve_any
from eckart.linalg.group_sparsity.working_set import State, state_at

_COARSE = 1.5  # ratio of two neighbouring penalties in the first pass
_LEAST = 1e-9  # smallest penalty, relative to alpha_max; sizes that need a smaller one are skipped
_CLOSE = 1e-7  # relative distance of two penalties at which a size between them is skipped


@dataclass(frozen=True)
class _Solved:
    """A penalty that was tried."""

    state: State
    result: GroupLassoResult

    @property
    def size(self) -> int:
        return len(self.result.support)


class SizeSearch:
    """Bisect the penalty for one size after another; all solutions are kept and reused."""

    def __init__(self, problem: Problem, certificate: Certificate, tol: float, limit: int) -> None:
        self._problem, self._certificate = problem, certificate
        self._tol, self._limit = tol, limit
        zero = state_at(problem, torch.zeros_like(problem.weights))
        self._solved = [self._solve(problem.alpha_max, zero)]  # penalties descending

    def results(self, sizes: Sequence[int]) -> dict[int, GroupLassoResult]:
        """The result of each size, or that of the largest support found below it.

        Args:
            sizes: ascending.
        """
        found = {}
        for size in sizes:
            self._descend(size)
            found[size] = self._bisect(size).result
        return found

    def _descend(self, size: int) -> None:
        """Extend the path to smaller penalties until the support is large enough."""
        top = self._problem.alpha_max
        while self._solved[-1].size < size and self._solved[-1].result.alpha > _LEAST * top:
            last = self._solved[-1]
            self._solved.append(self._solve(last.result.alpha / _COARSE, last.state))

    def _bisect(self, size: int) -> _Solved:
        """Find the solution of one size between the two penalties around it."""
        while True:
            exact = [tried for tried in self._solved if tried.size == size]
            if exact:
                return exact[0]
            above = next((i for i, t in enumerate(self._solved) if t.size > size), None)
            below = max((t for t in self._solved if t.size < size), key=lambda tried: tried.size)
            if above is None:
                return below
            left, right = self._solved[above - 1], self._solved[above]
            high, low = left.result.alpha, right.result.alpha
            if high <= low * (1 + _CLOSE):
                return below
            tried = self._solve(_between(left, right, size), left.state)
            self._solved.insert(above, tried)

    def _solve(self, alpha: float, state: State) -> _Solved:
        found = solve_any(self._problem, self._certificate, alpha, state, self._tol, self._limit)
        return _Solved(*found)


def _between(left: _Solved, right: _Solved, size: int) -> float:
    """Interpolate the logarithm of the penalty linearly in the size, away from both ends."""
    share = (size - left.size) / (right.size - left.size)
    share = min(max(share, 0.1), 0.9)
    high, low = math.log(left.result.alpha), math.log(right.result.alpha)
    return math.exp(high + share * (low - high))

"""Find the smallest of a row of candidates whose score is good enough, in few evaluations.

Bisection finds it if scores never fall as candidates grow. If they do fall, bisection may miss a
smaller candidate that is good enough. A few candidates below its answer are therefore tried too,
and if any two scores are out of order, the row below is scanned in a bounded number of evaluations.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import combinations
from math import isnan

from eckart.errors import InputError, NotMonotoneWarning
from eckart.records import Score, ToleranceSearch, Trial

_PROBES = 2  # candidates tried below the answer in addition to its neighbour
_SCANNED = 16  # candidates tried below it if scores are out of order
_ROUNDING = 1e-9  # relative to the dense score; smaller differences count as none


def smallest_passing(
    params: Sequence[int],
    score: Callable[[int], Score],
    dense: Score,
    dense_params: int,
    tolerance: float,
    ranks: Sequence[int] | None = None,
) -> tuple[int | None, ToleranceSearch]:
    """The smallest candidate with ``φ(dense) − φ(candidate) < tolerance``, or no gap at all.

    It is certain that the candidate found passed, that the next smaller one (if there is one) was
    evaluated and failed, and that every other one tried below it failed. Two scores are out of
    order if a smaller candidate passes and a larger one fails, or if the smaller one is better by
    more than a tenth of the tolerance and, where they have samples, two standard errors. The
    candidate found is the smallest that passes in these cases:

    - Scores never fall from one candidate to a larger one. Bisection finds it in at most
      ⌈log₂ n⌉ + 1 evaluations; two more look for a smaller one.
    - Scores do fall, the evaluations show it, and at most 16 candidates are below the answer of the
      bisection. All of them are evaluated.

    With more than 16 below, 16 evenly spaced ones are evaluated, and the interval below the
    smallest that passed is bisected. A ``NotMonotoneWarning`` reports scores that are out of order.

    Args:
        params: number of parameters of each candidate, ascending.
        score: evaluates the candidate with this index; called once per candidate that is tried.
        dense: score of the dense network; its direction says which way a gap is positive.
        dense_params: number of parameters of the dense network.
        tolerance: zero or more.
        ranks: the rank of each candidate, ascending, if candidates have one.

    Returns:
        The index, or None if no candidate that was tried passes, and the search.

    Raises:
        InputError: the tolerance is negative or NaN.
    """
    tolerance = checked_tolerance(tolerance)
    row = _Row(params, score, dense, tolerance, ranks)
    answer = row.bisected(-1, len(params))
    stride = max(1, len(params) // 50)
    untried = [i for i in range(answer - 1 - stride, -1, -stride) if i not in row.trials]
    row.try_all(untried[:_PROBES])
    disorder = row.disorder()
    if disorder is not None:
        before = len(row.trials)
        below = range(row.smallest())
        row.try_all(below[:: -(-len(below) // _SCANNED) or 1])
        answer = row.smallest()
        row.bisected(max((i for i in row.trials if i < answer), default=-1), answer)
        _warn(row, disorder, len(row.trials) - before)
    index = row.smallest()
    found = row.trials.get(index)
    search = ToleranceSearch(
        tolerance=tolerance,
        dense_score=dense,
        dense_params=dense_params,
        trials=tuple(row.trials.values()),
        found=found,
        monotone=disorder is None,
    )
    return None if found is None else index, search


def checked_tolerance(tolerance: float) -> float:
    """The tolerance, after a check that it is valid.

    Raises:
        InputError: it is negative or NaN.
    """
    if not tolerance >= 0:
        raise InputError(f"tolerance={tolerance}: a tolerance must be zero or more")
    return float(tolerance)


class _Row:
    """Candidates in ascending order, and the trials in the order they were made."""

    def __init__(
        self,
        params: Sequence[int],
        score: Callable[[int], Score],
        dense: Score,
        tolerance: float,
        ranks: Sequence[int] | None,
    ) -> None:
        self.params, self.score, self.dense = params, score, dense
        self.tolerance, self.ranks = tolerance, ranks
        self.trials: dict[int, Trial] = {}

    def passes(self, index: int) -> bool:
        """Whether a candidate is good enough; it is evaluated if it was not tried before."""
        if index not in self.trials:
            score = self.score(index)
            rank = None if self.ranks is None else self.ranks[index]
            gap = score.drop_from(self.dense)
            self.trials[index] = Trial(params=self.params[index], score=score, gap=gap, rank=rank)
        gap = self.trials[index].gap
        return gap < self.tolerance or gap <= 0

    def try_all(self, indices: Sequence[int]) -> None:
        """Evaluate these candidates."""
        for index in indices:
            self.passes(index)

    def bisected(self, low: int, high: int) -> int:
        """A candidate that passes and whose smaller neighbour fails, between ``low`` and ``high``.

        ``low`` counts as failing and ``high`` as passing, also beyond the ends of the row.
        """
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.passes(middle) else (middle, high)
        return high

    def smallest(self) -> int:
        """The smallest candidate tried that passes; one past the end if none does."""
        return min((i for i in self.trials if self.passes(i)), default=len(self.params))

    def disorder(self) -> tuple[Trial, Trial] | None:
        """A smaller candidate and a larger one that is worse by more than noise."""
        least = max(self.tolerance / 10, _ROUNDING * abs(self.dense.value))
        for small, large in combinations(sorted(self.trials), 2):
            better, worse = self.trials[small], self.trials[large]
            noise = better.score.drop_error(worse.score)
            slack = least if isnan(noise) else max(least, 2 * noise)
            if worse.gap - better.gap > slack or (self.passes(small) and not self.passes(large)):
                return better, worse
        return None


def _warn(row: _Row, disorder: tuple[Trial, Trial], scanned: int) -> None:
    """Warn about what is out of order and say what was done."""
    small, large = (
        f"{t.score.value:.6g} at {t.params if t.rank is None else f'rank {t.rank}'}"
        for t in disorder
    )
    unit = "" if row.ranks is not None else " parameters"
    warnings.warn(
        f"the score is not monotone in the size: {small}{unit}, {large}{unit}; {scanned} more "
        "candidates were evaluated below the one that bisection found, and the smallest that "
        "passed is taken. Evaluate on more examples for steadier scores",
        NotMonotoneWarning,
        stacklevel=4,
    )

"""The smallest of a row of candidates whose score is good enough, in few evaluations.

Bisection finds it where scores do not fall as candidates grow. Where they do, it may pass over a
smaller one that is good enough, so a few below its answer are tried, and the whole row below is
scanned, in a bounded number of evaluations, when any two of the scores are out of order.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import combinations
from math import isnan

from eckart.errors import InputError, NotMonotoneWarning
from eckart.records import Score, ToleranceSearch, Trial

_PROBES = 2  # candidates tried below the answer, besides its neighbour
_SCANNED = 16  # candidates tried below it where scores are out of order
_ROUNDING = 1e-9  # of the dense score: no difference


def smallest_passing(
    params: Sequence[int],
    score: Callable[[int], Score],
    dense: Score,
    dense_params: int,
    tolerance: float,
    ranks: Sequence[int] | None = None,
) -> tuple[int | None, ToleranceSearch]:
    """The smallest candidate with ``φ(dense) − φ(candidate) < tolerance``, or no gap at all.

    What is certain: the one found passed; the next smaller one, if there is one, was evaluated and
    did not, nor did any other that was tried below. Scores are out of order where a smaller
    candidate passes and a larger one does not, or does better than it by more than a tenth of
    the tolerance and, where they have samples, two standard errors. The one found is the smallest

    - if scores never fall from one candidate to a larger one: by bisection, ⌈log₂ n⌉ + 1
      evaluations at most, and two more that look for a smaller one;
    - if they do and it was noticed, and up to 16 candidates are below the answer of the bisection:
      all of them are evaluated. Of more, 16 that are evenly spaced are, and the interval below the
      smallest that passed is bisected. A ``NotMonotoneWarning`` says so.

    Args:
        params: parameters of each candidate, ascending.
        score: evaluates the candidate of that index; called once for each that is tried.
        dense: score of the dense network, in whose direction gaps are taken.
        dense_params: parameters of it.
        tolerance: from 0 on.
        ranks: of each candidate, ascending, where they have one.

    Returns:
        The index, None where no candidate tried passes, and the search.

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
    """The tolerance, once it is known to be one.

    Raises:
        InputError: it is negative or NaN.
    """
    if not tolerance >= 0:
        raise InputError(f"tolerance={tolerance}: a tolerance is zero or more")
    return float(tolerance)


class _Row:
    """Candidates in ascending order, and those that were tried, in the order of trying."""

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
        """Whether it is good enough; evaluates it where that is not known."""
        if index not in self.trials:
            score = self.score(index)
            rank = None if self.ranks is None else self.ranks[index]
            gap = score.drop_from(self.dense)
            self.trials[index] = Trial(params=self.params[index], score=score, gap=gap, rank=rank)
        gap = self.trials[index].gap
        return gap < self.tolerance or gap <= 0

    def try_all(self, indices: Sequence[int]) -> None:
        """Evaluate these."""
        for index in indices:
            self.passes(index)

    def bisected(self, low: int, high: int) -> int:
        """Between one that fails and one that passes, the one that passes next to one that fails.

        What is beyond the ends counts as failing, below, and as passing, above.
        """
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.passes(middle) else (middle, high)
        return high

    def smallest(self) -> int:
        """Of those tried that pass; one past the end where there is none."""
        return min((i for i in self.trials if self.passes(i)), default=len(self.params))

    def disorder(self) -> tuple[Trial, Trial] | None:
        """A smaller candidate and a larger one that does worse, by more than counts as noise."""
        least = max(self.tolerance / 10, _ROUNDING * abs(self.dense.value))
        for small, large in combinations(sorted(self.trials), 2):
            better, worse = self.trials[small], self.trials[large]
            noise = better.score.drop_error(worse.score)
            slack = least if isnan(noise) else max(least, 2 * noise)
            if worse.gap - better.gap > slack or (self.passes(small) and not self.passes(large)):
                return better, worse
        return None


def _warn(row: _Row, disorder: tuple[Trial, Trial], scanned: int) -> None:
    """Say what is out of order and what was done."""
    small, large = (
        f"{t.score.value:.6g} at {t.params if t.rank is None else f'rank {t.rank}'}"
        for t in disorder
    )
    unit = "" if row.ranks is not None else " parameters"
    warnings.warn(
        f"the score is not monotone in the size: {small}{unit}, {large}{unit}; {scanned} more "
        "candidates were evaluated below what bisection found, and the smallest that passed is "
        "taken. Evaluate on more examples for steadier scores",
        NotMonotoneWarning,
        stacklevel=4,
    )

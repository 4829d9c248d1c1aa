"""The multiple-choice knapsack: one option per site, least loss, costs within limits.

The linear relaxation's prices bound every option by its reduced cost; what cannot be part of a
better choice than the best one at hand is dropped. What is left is mostly few enough to be
enumerated under the same bound, exactly; HiGHS decides where it is not.

Source: Sinha and Zoltners 1979 (reduced-cost fixing for the multiple-choice knapsack);
Nemhauser and Ullmann 1969 (enumeration of undominated partial choices).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eckart.errors import EckartWarning

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Vector = NDArray[np.float64]
Indices = NDArray[np.intp]
_STOPPED = 1  # what milp calls it
_MAX_PARTIAL = 2_000_000  # partial choices looked at for one site
_MAX_SECONDS = 60.0
_MAX_EXCHANGES = 50
_MAX_EXCHANGED = 300  # options; every exchange compares all pairs
_FINE = 1e4  # HiGHS keeps limits and gap to an absolute 1e-6


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


def solve(problem: Knapsack, limits: Vector) -> list[int] | None:
    """Indices of the best options, one per site; None when no choice meets all limits.

    Exact, but for a relative 1e-6 of the loss at stake where HiGHS decides.
    """
    from scipy.optimize import linprog  # slow to import, and only needed here

    freest = problem.least(problem.losses)
    if problem.fits(freest, limits):
        return freest
    scale, unit = max(problem.losses.max(), 1e-300), np.maximum(limits, 1.0)
    relaxed = linprog(
        problem.losses / scale,
        A_ub=problem.costs / unit[:, None],
        b_ub=limits / unit,
        A_eq=_one_per_site(problem),
        b_eq=np.ones(problem.sites),
    )
    best = _rounded(problem, relaxed.x) if relaxed.status == 0 else []
    if not best or not problem.fits(best, limits):  # hardly any choice fits, or none
        return _search(problem, limits, np.zeros(len(problem.losses)), np.inf)
    prices = np.maximum(-relaxed.ineqlin.marginals, 0.0) / unit * scale
    excess, bound = _excess(problem, limits, prices)
    best = _improved(problem, best, limits, np.argsort(excess)[:_MAX_EXCHANGED])
    gap = problem.losses[best].sum() - bound  # no option of more excess is part of a better choice
    gap = gap * (1 + 1e-9) + 1e-12 * scale
    alive = np.flatnonzero(excess <= gap)
    exact = _search(problem.within(alive), limits, excess[alive], gap) or []
    better = [int(alive[i]) for i in exact]
    return better if better and problem.loss(better) < problem.loss(best) else best


def lower_hull(problem: Knapsack) -> list[tuple[int, int]]:
    """The steps along the convex hull of total loss against the first cost.

    Starting from the cheapest option of every site, each step is (site, option): take this option
    at this site from now on. Steps come in the order of loss saved per unit of cost.
    """
    steps = []
    for site in range(problem.sites):
        chain = _chain(problem, site)
        pairs = pairwise(chain)
        steps += [(_slope(problem, a, b), site, b) for a, b in pairs]
    return [(site, option) for _, site, option in sorted(steps)]


def _one_per_site(problem: Knapsack) -> csr_array:
    from scipy.sparse import csr_array  # slow to import, and only needed here

    count = len(problem.losses)
    places = (problem.site, np.arange(count))
    return csr_array((np.ones(count), places), shape=(problem.sites, count))


def _excess(problem: Knapsack, limits: Vector, prices: Vector) -> tuple[Vector, float]:
    """What each option costs above its site's best at these prices, and the bound they prove."""
    reduced = problem.losses + prices @ problem.costs
    floor = reduced[problem.least(reduced)]
    return reduced - floor[problem.site], float(floor.sum() - prices @ limits)


def _rounded(problem: Knapsack, x: Vector) -> list[int]:
    """Where the relaxed choice is split between options, the cheaper one."""
    expense = np.where(x > 1e-7, problem.costs.sum(0), np.inf)
    return problem.least(expense)


def _improved(problem: Knapsack, picked: list[int], limits: Vector, near: Indices) -> list[int]:
    """Exchange options at one or two sites at a time for as long as that lowers the loss."""
    site, picked = problem.site[near], list(picked)
    apart = (site[:, None] != site) | np.eye(len(site), dtype=bool)
    for _ in range(_MAX_EXCHANGES):
        now = np.array(picked)[site]
        loss = problem.losses[near] - problem.losses[now]
        cost = problem.costs[:, near] - problem.costs[:, now]
        slack = limits - problem.costs[:, picked].sum(1)
        both = np.where(np.eye(len(site), dtype=bool), 0.5, 1.0)  # a pair of one option is itself
        room = (both * (cost[:, :, None] + cost[:, None]) <= slack[:, None, None]).all(0)
        gain = np.where(room & apart, both * (loss[:, None] + loss), 0.0)
        i, j = np.unravel_index(gain.argmin(), gain.shape)
        if gain[i, j] >= 0:
            break
        picked[site[i]], picked[site[j]] = int(near[i]), int(near[j])
    return picked


def _search(problem: Knapsack, limits: Vector, excess: Vector, gap: float) -> list[int] | None:
    """The best choice: by enumeration where that is short, else by HiGHS; None if nothing fits."""
    found = _enumerated(problem, limits, excess, gap)
    return _integer(problem, limits) if found is None else found or None


def _enumerated(problem: Knapsack, limits: Vector, excess: Vector, gap: float) -> list[int] | None:
    """Site by site, every partial choice that may yet fit and be best; None when they are too many.

    A partial choice is dropped when its excess passes the gap, when the cheapest rest does not fit,
    and, under one cost, when another costs no more and loses no more. Empty when nothing fits.
    """
    cheapest = np.stack([row[problem.least(row)] for row in problem.costs])
    rest = np.cumsum(cheapest[:, ::-1], 1)[:, ::-1]
    rest = np.concatenate([rest[:, 1:], np.zeros((len(limits), 1))], 1)
    cost, loss, over = np.zeros((len(limits), 1)), np.zeros(1), np.zeros(1)
    steps: list[tuple[Indices, Indices]] = []
    for site in range(problem.sites):
        members = problem.members(site)
        if len(loss) * len(members) > _MAX_PARTIAL:
            return None
        before = np.repeat(np.arange(len(loss)), len(members))
        option = np.tile(members, len(loss))
        cost = cost[:, before] + problem.costs[:, option]
        loss, over = loss[before] + problem.losses[option], over[before] + excess[option]
        kept = np.flatnonzero((cost + rest[:, [site]] <= limits[:, None]).all(0) & (over <= gap))
        if len(limits) == 1:
            kept = kept[np.lexsort((loss[kept], cost[0, kept]))]
            least = np.minimum.accumulate(np.concatenate([[np.inf], loss[kept]]))
            kept = kept[loss[kept] < least[:-1]]
        cost, loss, over = cost[:, kept], loss[kept], over[kept]
        steps.append((before[kept], option[kept]))
    if len(loss) == 0:
        return []
    picked, state = [], int(loss.argmin())
    for before, option in reversed(steps):
        picked.append(int(option[state]))
        state = int(before[state])
    return picked[::-1]


def _integer(problem: Knapsack, limits: Vector) -> list[int] | None:
    """The best choice by HiGHS; a hair below the limits where its tolerance oversteps them."""
    for margin in (0.0, 1e-9, 1e-6):
        picked = _highs(problem, limits * (1 - margin))
        if picked is None or problem.fits(picked, limits):
            return picked
    return None


def _highs(problem: Knapsack, limits: Vector) -> list[int] | None:
    """Losses and costs are scaled so that the solver's tolerances are relative and fine."""
    from scipy.optimize import LinearConstraint, milp  # slow to import, and only needed here
    from scipy.sparse import csr_array, vstack

    unit = np.maximum(limits, 1.0) / _FINE
    above = problem.losses - problem.losses[problem.least(problem.losses)][problem.site]
    ones = np.ones(problem.sites)
    result = milp(
        above / max(above.max(), 1e-300) * _FINE,
        integrality=np.ones(len(above)),
        bounds=(0, 1),
        constraints=LinearConstraint(
            vstack([_one_per_site(problem), csr_array(problem.costs / unit[:, None])]),
            np.concatenate([ones, np.full(len(limits), -np.inf)]),
            np.concatenate([ones, limits / unit]),
        ),
        options={"mip_rel_gap": 0.0, "time_limit": _MAX_SECONDS},
    )
    if result.status == _STOPPED and result.x is not None:
        warnings.warn(
            f"the integer solver stopped after {_MAX_SECONDS:.0f} s; its plan's predicted loss is "
            f"within {100 * result.mip_gap:.2g} % of the best",
            EckartWarning,
            stacklevel=2,
        )
    return None if result.x is None else problem.least(-result.x)


def _chain(problem: Knapsack, site: int) -> list[int]:
    """A site's options on the lower hull of loss against cost, cheapest first."""
    hulled: list[int] = []
    members = problem.members(site)
    for i in members[np.lexsort((problem.losses[members], problem.costs[0, members]))].tolist():
        if hulled and problem.losses[i] >= problem.losses[hulled[-1]]:
            continue  # dearer, and no better
        while len(hulled) > 1 and _slope(problem, hulled[-2], hulled[-1]) >= _slope(
            problem, hulled[-1], i
        ):
            hulled.pop()
        hulled.append(i)
    return hulled


def _slope(problem: Knapsack, a: int, b: int) -> float:
    rise = problem.losses[b] - problem.losses[a]
    return float(rise / (problem.costs[0, b] - problem.costs[0, a]))

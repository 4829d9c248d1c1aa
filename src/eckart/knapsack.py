"""The multiple-choice knapsack: one option per site, least loss, costs within limits.

The linear relaxation's prices bound every option by its reduced cost; what cannot be part of a
better choice than the best one at hand is dropped, and HiGHS decides among the rest.

Source: Sinha and Zoltners 1979 (reduced-cost fixing for the multiple-choice knapsack).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, linprog, milp
from scipy.sparse import csr_array, vstack

from eckart.errors import EckartWarning

Vector = NDArray[np.float64]
Indices = NDArray[np.intp]
_INFEASIBLE, _STOPPED = 2, 1  # what linprog and milp call it
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
        costs: shape (metrics, options).
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

    def within(self, options: Indices) -> Knapsack:
        """The problem with only these options."""
        return Knapsack(self.site[options], self.losses[options], self.costs[:, options])


def solve(problem: Knapsack, limits: Vector) -> list[int] | None:
    """Indices of the best options, one per site; None when no choice meets all limits.

    Exact to a relative 1e-6 of the loss that is at stake after pruning.
    """
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
    if relaxed.status == _INFEASIBLE:
        return None
    if relaxed.status != 0:
        return _integer(problem, limits)
    prices = np.maximum(-relaxed.ineqlin.marginals, 0.0) / unit * scale
    rounded = _rounded(problem, relaxed.x)
    best = rounded if problem.fits(rounded, limits) else _integer(problem, limits)
    if best is None:
        return None
    excess, bound = _excess(problem, limits, prices)
    best = _improved(problem, best, limits, np.argsort(excess)[:_MAX_EXCHANGED])
    gap = problem.losses[best].sum() - bound  # no option of more excess is part of a better choice
    alive = np.flatnonzero(excess <= gap * (1 + 1e-9) + 1e-12 * scale)
    exact = [int(alive[i]) for i in _integer(problem.within(alive), limits) or []]
    return min(filter(None, (best, exact)), key=lambda picked: float(problem.losses[picked].sum()))


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


def _integer(problem: Knapsack, limits: Vector) -> list[int] | None:
    """The best choice by HiGHS; a hair below the limits where its tolerance oversteps them."""
    for margin in (0.0, 1e-9, 1e-6):
        picked = _highs(problem, limits * (1 - margin))
        if picked is None or problem.fits(picked, limits):
            return picked
    return None


def _highs(problem: Knapsack, limits: Vector) -> list[int] | None:
    """Losses and costs are scaled so that the solver's tolerances are relative and fine."""
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
    for i in sorted(problem.members(site).tolist(), key=lambda i: float(problem.costs[0, i])):
        while len(hulled) > 1 and _slope(problem, hulled[-2], hulled[-1]) >= _slope(
            problem, hulled[-1], i
        ):
            hulled.pop()
        hulled.append(i)
    return hulled


def _slope(problem: Knapsack, a: int, b: int) -> float:
    rise = problem.losses[b] - problem.losses[a]
    return float(rise / (problem.costs[0, b] - problem.costs[0, a]))

"""The best choice of a few options, by enumeration if that is short, else by HiGHS.

Source: Nemhauser and Ullmann 1969 (enumeration of undominated partial choices).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from eckart.errors import EckartWarning
from eckart.stages.allocate.knapsack import Indices, Knapsack, Vector, unit_of

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_STOPPED = 1  # status of milp when it stops at a limit
_MAX_PARTIAL = 2_000_000  # partial choices considered for one site
_MAX_NODES = 50_000  # of branch and bound; a limit in seconds would let plans depend on the load
_FINE = 1e4  # HiGHS has absolute tolerances of 1e-6 for limits and gap


def searched(problem: Knapsack, limits: Vector, excess: Vector, gap: float) -> list[int] | None:
    """The best choice, by enumeration if that is short, else by HiGHS; None if nothing fits."""
    found = _enumerated(problem, limits, excess, gap)
    return _integer(problem, limits) if found is None else found or None


def _enumerated(problem: Knapsack, limits: Vector, excess: Vector, gap: float) -> list[int] | None:
    """The best choice, by extending all partial choices site by site; None if there are too many.

    A partial choice is dropped if its excess is larger than the gap, or if the cheapest rest does
    not fit. With a single cost, it is also dropped if another one has no higher cost and no higher
    loss. The result is empty if nothing fits.
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
    """The best choice by HiGHS; with slightly lower limits if its tolerance exceeds the limits."""
    for margin in (0.0, 1e-9, 1e-6):
        picked = _highs(problem, limits * (1 - margin))
        if picked is None or problem.fits(picked, limits):
            return picked
    return None


def _highs(problem: Knapsack, limits: Vector) -> list[int] | None:
    """One solve, with losses and costs scaled so that the tolerances are relative and fine."""
    from scipy.optimize import LinearConstraint, milp  # slow to import, and only needed here
    from scipy.sparse import csr_array, vstack

    unit = unit_of(limits) / _FINE
    above = problem.losses - problem.losses[problem.least(problem.losses)][problem.site]
    ones = np.ones(problem.sites)
    result = milp(
        above / max(above.max(), 1e-300) * _FINE,
        integrality=np.ones(len(above)),
        bounds=(0, 1),
        constraints=LinearConstraint(
            vstack([one_per_site(problem), csr_array(problem.costs / unit[:, None])]),
            np.concatenate([ones, np.full(len(limits), -np.inf)]),
            np.concatenate([ones, limits / unit]),
        ),
        options={"mip_rel_gap": 0.0, "node_limit": _MAX_NODES},
    )
    if result.status == _STOPPED and result.x is not None:
        warnings.warn(
            f"the integer solver stopped after {_MAX_NODES:,} nodes; the predicted loss of its "
            f"plan is within {100 * result.mip_gap:.2g} % of the best",
            EckartWarning,
            stacklevel=2,
        )
    return None if result.x is None else problem.least(-result.x)


def one_per_site(problem: Knapsack) -> csr_array:
    """The sum over each site's options, as rows of a matrix."""
    from scipy.sparse import csr_array  # slow to import, and only needed here

    count = len(problem.losses)
    places = (problem.site, np.arange(count))
    return csr_array((np.ones(count), places), shape=(problem.sites, count))

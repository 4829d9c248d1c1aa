"""The best choice of a multiple-choice knapsack: least loss, with costs within the limits.

The prices of the linear relaxation give every option a reduced cost. By this bound, options that
cannot be part of a better choice than the best one so far are dropped. The remaining options are
searched exactly. The price of a single cost is found without a linear program.

Source: Sinha and Zoltners 1979 (reduced-cost fixing for the multiple-choice knapsack).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eckart.stages.allocate.exact import one_per_site, searched
from eckart.stages.allocate.knapsack import Indices, Knapsack, Vector, unit_of
from eckart.stages.allocate.single_price import price_of

_MAX_EXCHANGES = 50
_MAX_EXCHANGED = 300  # options that take part; every exchange compares all pairs


def solve(problem: Knapsack, limits: Vector, below: float = np.inf) -> list[int] | None:
    """Indices of the best options, one per site.

    The result is exact, except for a relative 1e-6 of the loss at stake if HiGHS decides.

    Args:
        problem: the options.
        limits: on the sum of each cost, shape (costs,).
        below: only choices with less loss than this are of interest.

    Returns:
        The options; None if no choice meets all limits with less loss than ``below``.
    """
    freest = problem.least(problem.losses)
    if problem.fits(freest, limits):
        return freest if problem.loss(freest) < below else None
    relaxed = _priced(problem, limits) if len(limits) == 1 else _relaxed(problem, limits)
    if relaxed is None:
        return None
    if relaxed.bound >= below:
        return None
    best = relaxed.rounded
    if best is not None:
        near = np.argsort(relaxed.excess, kind="stable")[:_MAX_EXCHANGED]
        best = _improved(problem, best, limits, near)
        below = min(below, problem.loss(best) * (1 + 1e-12))
    gap = below - relaxed.bound  # an option with more excess is not part of a better choice
    gap = gap * (1 + 1e-9) + 1e-12 * problem.losses.max()
    alive = np.flatnonzero(relaxed.excess <= gap)
    found = searched(problem.within(alive), limits, relaxed.excess[alive], gap)
    choices = [[int(alive[i]) for i in found]] if found else []
    choices += [] if best is None else [best]
    least = min(choices, key=problem.loss, default=None)
    return None if least is None or problem.loss(least) >= below else least


class _Relaxed(NamedTuple):
    """The result of the linear relaxation.

    Attributes:
        excess: by how much the reduced cost of each option is above the least of its site.
        bound: no choice has less loss.
        rounded: a choice that meets the limits, if rounding the relaxed choice gave one.
    """

    excess: Vector
    bound: float
    rounded: list[int] | None


class _Choice(NamedTuple):
    """One option per site, with its loss and what it spends of the only cost."""

    picked: list[int]
    loss: float
    spent: float

    @classmethod
    def of(cls, problem: Knapsack, picked: list[int]) -> _Choice:
        return cls(picked, problem.loss(picked), float(problem.costs[0, picked].sum()))


def _priced(problem: Knapsack, limits: Vector) -> _Relaxed | None:
    """The relaxation under a limit on a single cost; None if nothing fits.

    The rounded choice is the one at the price of the limit that fits, and takes what it can of the
    one that does not.
    """
    cost, limit = problem.costs[0], float(limits[0])

    def best(price: float) -> tuple[_Choice, float]:
        values = problem.losses + price * cost
        picked = problem.least(values)
        return _Choice.of(problem, picked), float(values[picked].sum())

    cheapest = _Choice.of(problem, problem.least(cost))
    if cheapest.spent > limit:
        return None
    freest = _Choice.of(problem, problem.least(problem.losses))
    found, met = price_of(cheapest, freest, limit, best)
    rounded = _filled(problem, met[-2].picked, met[-1].picked, limit)
    reduced = problem.losses + found.price * cost
    floor = reduced[problem.least(reduced)]
    return _Relaxed(reduced - floor[problem.site], found.bound, rounded)


def _filled(problem: Knapsack, picked: list[int], others: list[int], limit: float) -> list[int]:
    """The choice with as many options of another one as fit, those that save most loss first."""
    now, then = np.array(picked), np.array(others)
    saved = problem.losses[now] - problem.losses[then]
    more = problem.costs[0, then] - problem.costs[0, now]
    left = limit - float(problem.costs[0, now].sum())
    for site in np.argsort(-saved, kind="stable"):
        if saved[site] > 0 and more[site] <= left:
            now[site] = then[site]
            left -= more[site]
    filled: list[int] = now.tolist()
    return filled


def _relaxed(problem: Knapsack, limits: Vector) -> _Relaxed:
    """Solve the relaxation, with losses and limits scaled to about one."""
    from scipy.optimize import linprog  # slow to import, and only needed here

    scale, unit = max(problem.losses.max(), 1e-300), unit_of(limits)
    result = linprog(
        problem.losses / scale,
        A_ub=problem.costs / unit[:, None],
        b_ub=limits / unit,
        A_eq=one_per_site(problem),
        b_eq=np.ones(problem.sites),
    )
    if result.status != 0:  # few choices fit, or none
        return _Relaxed(np.zeros(len(problem.losses)), -np.inf, None)
    prices = np.maximum(-result.ineqlin.marginals, 0.0) / unit * scale
    reduced = problem.losses + prices @ problem.costs
    floor = reduced[problem.least(reduced)]
    bound = float(floor.sum() - prices @ limits)
    rounded = problem.least(np.where(result.x > 1e-7, problem.costs.sum(0), np.inf))
    fits = problem.fits(rounded, limits)
    return _Relaxed(reduced - floor[problem.site], bound, rounded if fits else None)


def _improved(problem: Knapsack, picked: list[int], limits: Vector, near: Indices) -> list[int]:
    """Exchange options at one or two sites at a time, as long as that lowers the loss."""
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

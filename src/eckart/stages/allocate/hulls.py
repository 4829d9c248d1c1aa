"""The lower convex hull of loss against one cost: choices that are best at some price per unit."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from eckart.stages.allocate.coupled import Column, Coupled
from eckart.stages.allocate.knapsack import Knapsack


def lower_hull(problem: Knapsack) -> list[tuple[int, int]]:
    """The steps along the convex hull of total loss against the first cost.

    The hull starts from the cheapest option of every site. Each step is (site, option): take this
    option at this site from now on. Steps are in the order of loss saved per unit of cost.
    """
    steps = []
    for site in range(problem.sites):
        chain = _chain(problem, site)
        pairs = pairwise(chain)
        steps += [(_slope(problem, a, b), site, b) for a, b in pairs]
    return [(site, option) for _, site, option in sorted(steps)]


def _chain(problem: Knapsack, site: int) -> list[int]:
    """A site's options on the lower hull of loss against cost, cheapest first."""
    hulled: list[int] = []
    members = problem.members(site)
    for i in members[np.lexsort((problem.losses[members], problem.costs[0, members]))].tolist():
        if hulled and problem.losses[i] >= problem.losses[hulled[-1]]:
            continue  # more expensive, and no better
        while len(hulled) > 1 and _slope(problem, hulled[-2], hulled[-1]) >= _slope(
            problem, hulled[-1], i
        ):
            hulled.pop()
        hulled.append(i)
    return hulled


def _slope(problem: Knapsack, a: int, b: int) -> float:
    rise = problem.losses[b] - problem.losses[a]
    return float(rise / (problem.costs[0, b] - problem.costs[0, a]))


def coupled_hull(problem: Coupled, most: int = 200) -> list[Column]:
    """Choices on the lower convex hull of loss against the first cost, cheapest first.

    For two neighbours on the hull, the best choice at the slope between them is a new vertex if it
    lies below their line. The pair with the largest possible gap comes first.
    """
    unit = np.zeros(len(problem.options.costs))
    unit[0] = 1.0
    cheapest = problem.best(unit, loss=1e-9 * _scale(problem))[0]  # with least loss among ties
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

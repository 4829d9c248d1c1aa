"""Curves and a budget to a plan: one option per site, least predicted loss, within the limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

import numpy as np

from eckart.costs import COSTS, Cost, cost_named
from eckart.errors import BudgetError
from eckart.knapsack import Knapsack, Vector, lower_hull, solve
from eckart.records import Budget, Choice, Curves, Option, Plan

_KNAPSACKS: WeakKeyDictionary[Curves, dict[tuple[Cost, ...], tuple[Knapsack, list[Option]]]] = (
    WeakKeyDictionary()
)


def allocate(curves: Curves, budget: Budget) -> Plan:
    """The choice of options with the least predicted loss within the budget.

    Args:
        curves: every site's options.
        budget: limits on costs, one or several at once.

    Returns:
        The plan; no other has less predicted loss (to a relative 1e-6 of it on large problems).

    Raises:
        BudgetError: no choice is cheap enough; the message states the least reachable cost.
        InputError: an unknown cost.

    Cost: one linear program over all options, and a small enumeration.

    Example:
        >>> import torch, eckart
        >>> network = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 4))
        >>> moments = eckart.calibrate(network, [torch.randn(64, 20)])
        >>> options = eckart.curves(network, moments)
        >>> plan = eckart.allocate(options, eckart.Budget(params=0.7))
        >>> plan.costs["params"] <= 0.7 * plan.totals["params"]
        True
    """
    problem, options = _knapsack(curves, list(budget.limits))
    picked = solve(problem, _limits(curves, budget, problem))
    if picked is None:
        raise BudgetError(
            "each limit of this budget can be met alone, but no choice of options meets all of "
            "them at once; raise one of them"
        )
    return _plan(curves, [options[i] for i in picked], budget)


def hull(curves: Curves, metric: str = "params") -> list[Plan]:
    """The lower convex hull of predicted loss against one cost, cheapest plan first.

    Every plan on it is optimal for its own cost; a sweep over all Lagrange multipliers at once.

    Args:
        curves: every site's options.
        metric: the cost, by name.

    Returns:
        Plans without a budget, from the cheapest to dense, one step at one site apart.

    Cost: O(options · log options).
    """
    problem, options = _knapsack(curves, [metric])
    picked = problem.least(problem.costs[0])
    plans = [_plan(curves, [options[i] for i in picked])]
    for site, option in lower_hull(problem):
        picked[site] = option
        plans.append(_plan(curves, [options[i] for i in picked]))
    return plans


def uniform(curves: Curves, budget: Budget) -> Plan:
    """The baseline: every site keeps the same fraction of its own cost, or stays dense.

    The fraction is the largest that meets the budget. Within a site, the option of least
    predicted loss among those that are cheap enough.

    Raises:
        BudgetError: the least fraction is too much.
    """
    problem, options = _knapsack(curves, list(budget.limits))
    limits = _limits(curves, budget, problem)
    dense = [problem.members(site)[-1] for site in range(problem.sites)]
    share = (problem.costs / problem.costs[:, dense][:, problem.site]).max(0)
    least = problem.least(share)
    for fraction in np.union1d(share, 1.0)[::-1]:
        within = share <= np.maximum(fraction, share[least][problem.site])
        picked = problem.least(np.where(within, problem.losses, np.inf))
        if problem.fits(picked, limits):
            return _plan(curves, [options[i] for i in picked], budget)
    raise BudgetError("no uniform fraction meets this budget; raise it or use allocate")


def cheapest_passing(plans: Sequence[Plan], passes: Callable[[Plan], bool]) -> tuple[Plan, int]:
    """The cheapest of a hull's plans that passes, by bisection; the last one is taken to pass.

    Scores need not fall all the way with the predicted loss: the answer passed, and of those
    tried below it none did.

    Returns:
        The plan, and how many plans were tried; each at most once.
    """
    low, high, tried = -1, len(plans) - 1, 0
    while high - low > 1:
        middle = (low + high) // 2
        tried += 1
        low, high = (low, middle) if passes(plans[middle]) else (middle, high)
    return plans[high], tried


def _plan(curves: Curves, options: Sequence[Option], budget: Budget | None = None) -> Plan:
    """The plan that takes one option per site."""
    costs = dict(curves.totals)
    choices, reasons = {}, dict(curves.dense)
    for curve, option in zip(curves.curves, options, strict=True):
        name, spec = curve.site.name, curves.specs[curve.site.name]
        if option.form.is_dense:
            alone = len(curve.options) == 1
            reasons[name] = "no option is cheaper than dense" if alone else "dense is best here"
            continue
        choices[name] = Choice(option.method, option.form, option.loss)
        for metric in costs:
            of = COSTS[metric].of
            costs[metric] += of(spec, option.form) - of(spec, spec.dense)
    loss = sum((option.loss for option in options), 0.0)
    return Plan(
        choices,
        reasons,
        loss,
        costs,
        curves.totals,
        curves.fingerprint,
        curves.damping,
        budget,
        curves.moments,
    )


def _knapsack(curves: Curves, metrics: Sequence[str]) -> tuple[Knapsack, list[Option]]:
    """The useful options of every site as columns, dense the last of its site; made once."""
    known = _KNAPSACKS.setdefault(curves, {})
    key = tuple(cost_named(name) for name in metrics)
    if key not in known:
        known[key] = _assembled(curves, key)
    return known[key]


def _assembled(curves: Curves, priced: Sequence[Cost]) -> tuple[Knapsack, list[Option]]:
    options: list[Option] = []
    costs: list[Vector] = [np.zeros((0, len(priced)))]
    for curve in curves.curves:
        spec = curves.specs[curve.site.name]
        rows = np.array([[c.of(spec, o.form) for c in priced] for o in curve.options], float)
        kept = _undominated(np.array([option.loss for option in curve.options]), rows)
        options += [curve.options[i] for i in kept]
        costs.append(rows[kept])
    sites = np.repeat(np.arange(len(curves.curves)), [len(rows) for rows in costs[1:]])
    losses = np.array([option.loss for option in options], float)
    return Knapsack(sites.astype(np.intp), losses, np.concatenate(costs).T), options


def _undominated(losses: Vector, costs: Vector) -> list[int]:
    """Options cheaper than dense in a cost that counts and beaten by no other; then dense."""
    dense = len(losses) - 1
    order = np.lexsort((*costs.T[::-1], losses))
    kept: list[int] = []
    for i in order[(costs[order] < costs[dense]).any(1)]:
        if not (costs[kept] <= costs[i]).all(1).any():
            kept.append(int(i))
    return [*reversed(kept), dense]


def _limits(curves: Curves, budget: Budget, problem: Knapsack) -> Vector:
    """What the chosen options may cost in sum: the budget less all that cannot change."""
    limits = []
    for (name, limit), costs in zip(budget.limits.items(), problem.costs, strict=True):
        dense = sum(costs[problem.members(site)[-1]] for site in range(problem.sites))
        whole = curves.totals.get(name, dense) if budget.of == "model" else dense
        allowed = np.floor(limit * whole + 1e-9) if isinstance(limit, float) else limit
        reachable = whole - dense + costs[problem.least(costs)].sum()
        if reachable > allowed:
            raise BudgetError(
                f"budget {name}={limit} of the {budget.of} cannot be met: the least reachable is "
                f"{reachable:.0f} of {whole:.0f} ({reachable / max(whole, 1):.4f}); raise it, "
                "allow lower ranks or more methods, or leave fewer layers dense"
            )
        limits.append(allowed - (whole - dense))
    return np.array(limits, float)

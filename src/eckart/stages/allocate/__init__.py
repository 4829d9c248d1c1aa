"""Curves and a budget to a plan: one option per site, least predicted loss, within the limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np

from eckart.costs import COSTS, Cost, cost_named
from eckart.errors import BudgetError
from eckart.records import Budget, Choice, Curves, Option, Plan, Removal
from eckart.records.plans import Scope, predicted
from eckart.stages.allocate.coupled import Coupled, coupled_hull, solve_coupled
from eckart.stages.allocate.knapsack import Vector, lower_hull, solve
from eckart.stages.allocate.table import Kept, Menu, assembled

_Key = tuple[tuple[Cost, ...], Scope]
_PROBLEMS: WeakKeyDictionary[Curves, dict[_Key, tuple[Coupled, Menu]]] = WeakKeyDictionary()


def allocate(curves: Curves, budget: Budget) -> Plan:
    """The choice of options and channels with the least predicted loss within the budget.

    Args:
        curves: every site's options.
        budget: limits on costs, one or several at once.

    Returns:
        The plan. Without channel groups no other has less predicted loss (to a relative 1e-6 of it
        on large problems); with them it is the best that was found, and ``plan.bound`` is a lower
        bound on all others.

    Raises:
        BudgetError: no choice is cheap enough; the message states the least reachable cost.
        InputError: an unknown cost.

    Cost: one linear program over all options, and a small enumeration; with channel groups some
        dozens of each.

    Example:
        >>> import torch, eckart
        >>> network = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 4))
        >>> moments = eckart.calibrate(network, [torch.randn(64, 20)])
        >>> options = eckart.curves(network, moments)
        >>> plan = eckart.allocate(options, eckart.Budget(params=0.7))
        >>> plan.costs["params"] <= 0.7 * plan.totals["params"]
        True
    """
    problem, menu = _problem(curves, list(budget.limits), budget.of)
    limits = _limits(curves, budget, problem)
    if problem.states:
        picked, bound = solve_coupled(problem, limits)
    else:
        picked = solve(problem.options, limits)
        bound = 0.0 if picked is None else problem.options.loss(picked)
    if picked is None:
        raise BudgetError(
            "each limit of this budget can be met alone, but no choice of options was found that "
            "meets all of them at once; raise one of them"
        )
    return _plan(curves, [menu[i] for i in picked], budget, bound)


def hull(curves: Curves, cost: str = "params") -> list[Plan]:
    """The lower convex hull of predicted loss against one cost, cheapest plan first.

    Every plan on it is optimal for its own cost; a sweep over all Lagrange multipliers at once.

    Args:
        curves: every site's options.
        cost: by name.

    Returns:
        Plans without a budget, from the cheapest to dense: one step at one site apart, or, with
        channel groups, up to 200 of them where the hull bends most.

    Cost: O(options · log options); with channel groups O(options) for each plan.
    """
    problem, menu = _problem(curves, [cost])
    if problem.states:
        columns = coupled_hull(problem)
        return [_plan(curves, [menu[i] for i in c.picked], None, c.loss) for c in columns]
    options = problem.options
    picked = options.least(options.costs[0])
    plans = [_plan(curves, [menu[i] for i in picked])]
    for site, option in lower_hull(options):
        picked[site] = option
        plans.append(_plan(curves, [menu[i] for i in picked]))
    return plans


def uniform(curves: Curves, budget: Budget) -> Plan:
    """The baseline: every site keeps the same fraction of its own cost, or stays dense.

    The fraction is the largest that meets the budget. Within a site, the option of least
    predicted loss among those that are cheap enough. All channels stay.

    Raises:
        BudgetError: the least fraction is too much.
    """
    coupled, menu = _problem(curves, list(budget.limits), budget.of)
    limits = _limits(curves, budget, coupled)
    whole = coupled.fixed(tuple(count - 1 for count in coupled.states))
    problem = coupled.options.within(whole)
    dense = [problem.members(site)[-1] for site in range(problem.sites)]
    share = (problem.costs / np.maximum(problem.costs[:, dense], 1)[:, problem.site]).max(0)
    least = problem.least(share)
    for fraction in np.union1d(share, 1.0)[::-1]:
        within = share <= np.maximum(fraction, share[least][problem.site])
        picked = problem.least(np.where(within, problem.losses, np.inf))
        if problem.fits(picked, limits):
            return _plan(curves, [menu[whole[i]] for i in picked], budget)
    raise BudgetError("no uniform fraction meets this budget; raise it or use allocate")


def unchanged(curves: Curves, reason: str) -> Plan:
    """The plan that leaves every layer dense, for a reason."""
    dense = {**dict.fromkeys(curves.specs, reason), **curves.dense}
    return _plan(replace(curves, curves=(), groups=(), dense=dense), [])


def _plan(
    curves: Curves,
    chosen: Menu,
    budget: Budget | None = None,
    bound: float | None = None,
) -> Plan:
    """The plan that takes one option per layer and one size per group."""
    costs = dict(curves.totals)
    choices, removals, reasons = {}, {}, dict(curves.dense)
    options = [option for option in chosen if isinstance(option, Option)]
    for curve, option in zip(curves.curves, options, strict=True):
        name, spec = curve.site.name, curves.specs[curve.site.name]
        if option.form == spec.dense:
            alone = len(curve.options) == 1
            why = "no option is cheaper than dense" if alone else "dense is best here"
            reasons.setdefault(name, why)
            continue
        reasons.pop(name, None)
        choices[name] = Choice(option.method, option.form, option.loss)
        for cost in costs:
            of = COSTS[cost].of
            costs[cost] += of(spec, option.form) - of(spec, spec.dense)
    for curve_of, size in (kept for kept in chosen if isinstance(kept, Kept)):
        group = curve_of.group
        if size == group.size:
            continue
        removals[group.name] = Removal(
            group=group,
            method=curve_of.method,
            kept=curve_of.kept(size),
            loss=curve_of.losses[size],
        )
        for cost, each in curve_of.costs.items():
            costs[cost] -= each * (group.size - size)
    loss = predicted(choices, removals)
    return Plan(
        choices=choices,
        dense=reasons,
        loss=loss,
        costs=costs,
        totals=curves.totals,
        fingerprint=curves.fingerprint,
        damping=curves.damping,
        budget=budget,
        moments=curves.moments,
        removals=removals,
        whole=dict(curves.whole),
        bound=loss if bound is None else min(bound, loss),
        states=curves.states,
    )


def _problem(curves: Curves, names: Sequence[str], of: Scope = "model") -> tuple[Coupled, Menu]:
    """The table of options for these costs, made once."""
    known = _PROBLEMS.setdefault(curves, {})
    key = (tuple(cost_named(name) for name in names), of)
    if key not in known:
        known[key] = assembled(curves, key[0], count_norms=of == "model")
    return known[key]


def _limits(curves: Curves, budget: Budget, problem: Coupled) -> Vector:
    """What the chosen options may cost in sum: the budget less all that cannot change."""
    limits = []
    options = problem.options
    for index, (name, limit) in enumerate(budget.limits.items()):
        costs = options.costs[index]
        dense = sum(costs[options.members(site)[-1]] for site in range(options.sites))
        whole = curves.totals.get(name, dense) if budget.of == "model" else dense
        allowed = np.floor(limit * whole + 1e-9) if isinstance(limit, float) else limit
        prices = np.zeros(len(options.costs))
        prices[index] = 1.0
        reachable = whole - dense + problem.best(prices, loss=0.0)[0].costs[index]
        if reachable > allowed:
            raise BudgetError(
                f"budget {name}={limit} of the {budget.of} cannot be met: the least reachable is "
                f"{reachable:.0f} of {whole:.0f} ({reachable / max(whole, 1):.4f}); raise it, "
                "allow lower ranks or more methods, or leave fewer layers dense"
            )
        limits.append(allowed - (whole - dense))
    return np.array(limits, float)

"""Curves and a budget to a plan: one option per site, with least predicted loss in the limits."""

from __future__ import annotations

from dataclasses import replace
from types import NoneType

from eckart.records import Budget, Curves, Plan
from eckart.records.timings import Timings
from eckart.running.arguments import check_kind
from eckart.stages.allocate.allocator import Allocator
from eckart.stages.allocate.planning import planned

__all__ = ["Allocator", "allocate", "hull", "unchanged", "uniform"]


def allocate(curves: Curves, budget: Budget, *, timings: Timings | None = None) -> Plan:
    """The choice of options and channels with the least predicted loss within the budget.

    The same curves and the same budget give the same plan, whatever was asked before.

    Args:
        curves: every site's options.
        budget: limits on one or several costs.
        timings: from ``eckart.profile``, for a limit in milliseconds. It is then met as predicted;
            ``compress`` also measures it.

    Returns:
        The plan. Without channel groups, no other plan has less predicted loss (on large problems,
        up to a relative 1e-6). With channel groups it is the best plan that was found, and
        ``plan.bound`` is a lower bound on the loss of any plan.

    Raises:
        BudgetError: no choice is cheap enough; the message states the least reachable cost.
        InputError: an unknown cost, or milliseconds without timings.
        MismatchError: the timings are of another network.

    Cost: a table of all options, one linear program over them, and a small enumeration. With
        channel groups, some dozens of programs and enumerations. ``Allocator`` makes the table once
        for several budgets.

    Example:
        >>> import torch, eckart
        >>> network = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 4))
        >>> moments = eckart.calibrate(network, [torch.randn(64, 20)])
        >>> options = eckart.curves(network, moments)
        >>> plan = eckart.allocate(options, eckart.Budget(params=0.7))
        >>> plan.costs["params"] <= 0.7 * plan.totals["params"]
        True
    """
    check_kind("curves", curves, Curves)
    check_kind("budget", budget, Budget)
    check_kind("timings", timings, Timings, NoneType)
    return Allocator.of(curves if timings is None else curves.timed(timings), budget).plan(budget)


def hull(curves: Curves, cost: str = "params", *, timings: Timings | None = None) -> list[Plan]:
    """The lower convex hull of predicted loss against one cost, cheapest plan first.

    Every plan on the hull is optimal for its own cost. This is a sweep over all Lagrange
    multipliers at once.

    Args:
        curves: every site's options.
        cost: name of the cost.
        timings: for the cost ``"ms"``.

    Returns:
        Plans without a budget, from the cheapest to dense. Without channel groups, consecutive
        plans differ at one site. With channel groups, there are up to 200 plans, where the hull
        bends most.

    Cost: O(options · log options); with channel groups O(options) per plan.
    """
    return Allocator.over(curves if timings is None else curves.timed(timings), [cost]).hull()


def uniform(curves: Curves, budget: Budget) -> Plan:
    """The baseline: every site keeps the same fraction of its own cost, or stays dense.

    The fraction is the largest that meets the budget. Each site takes the option of least predicted
    loss among those that are cheap enough. All channels stay.

    Raises:
        BudgetError: even the smallest fraction is too expensive.
    """
    return Allocator.of(curves, budget).uniform(budget)


def unchanged(curves: Curves, reason: str) -> Plan:
    """The plan that leaves every layer dense, for the given reason."""
    dense = {**dict.fromkeys(curves.specs, reason), **curves.dense}
    return planned(replace(curves, curves=(), groups=(), dense=dense), [])

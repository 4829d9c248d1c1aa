"""Curves and a budget to a plan: one option per site, least predicted loss, within the limits."""

from __future__ import annotations

from dataclasses import replace

from eckart.records import Budget, Curves, Plan
from eckart.stages.allocate.allocator import Allocator
from eckart.stages.allocate.planning import planned

__all__ = ["Allocator", "allocate", "hull", "unchanged", "uniform"]


def allocate(curves: Curves, budget: Budget) -> Plan:
    """The choice of options and channels with the least predicted loss within the budget.

    The same curves and the same budget give the same plan, whatever was asked before.

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

    Cost: a table of all options, one linear program over them, and a small enumeration; with
        channel groups some dozens of the latter two. ``Allocator`` makes the table once for
        several budgets.

    Example:
        >>> import torch, eckart
        >>> network = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 4))
        >>> moments = eckart.calibrate(network, [torch.randn(64, 20)])
        >>> options = eckart.curves(network, moments)
        >>> plan = eckart.allocate(options, eckart.Budget(params=0.7))
        >>> plan.costs["params"] <= 0.7 * plan.totals["params"]
        True
    """
    return Allocator.of(curves, budget).plan(budget)


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
    return Allocator.over(curves, [cost]).hull()


def uniform(curves: Curves, budget: Budget) -> Plan:
    """The baseline: every site keeps the same fraction of its own cost, or stays dense.

    The fraction is the largest that meets the budget. Within a site, the option of least
    predicted loss among those that are cheap enough. All channels stay.

    Raises:
        BudgetError: the least fraction is too much.
    """
    return Allocator.of(curves, budget).uniform(budget)


def unchanged(curves: Curves, reason: str) -> Plan:
    """The plan that leaves every layer dense, for a reason."""
    dense = {**dict.fromkeys(curves.specs, reason), **curves.dense}
    return planned(replace(curves, curves=(), groups=(), dense=dense), [])

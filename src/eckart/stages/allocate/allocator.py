"""Curves as one table, from which plans for many budgets are made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from eckart.costs import Cost, cost_in
from eckart.errors import BudgetError, InputError
from eckart.records import Budget, Curves, Plan
from eckart.records.budgets import Amount, Scope, is_fraction
from eckart.stages.allocate.coupled import Coupled
from eckart.stages.allocate.hulls import coupled_hull, lower_hull
from eckart.stages.allocate.joint_states import solve_coupled
from eckart.stages.allocate.knapsack import Vector, unit_of
from eckart.stages.allocate.planning import planned
from eckart.stages.allocate.solving import solve
from eckart.stages.allocate.table import Menu, assembled
from eckart.stages.allocate.unshrinkable import amount, what_stays


@dataclass(frozen=True, eq=False)
class Allocator:
    """Curves as a table of options, for any number of budgets on the same costs.

    No call changes it, so the order of calls does not matter.

    Attributes:
        curves: every site's options, by the methods that budgets on these costs may use.
        costs: names of the costs that budgets limit.
        scope: what the budgets count: ``"model"``, ``"reached"`` or ``"sites"``.
        problem: the knapsack.
        menu: what each of its options means.
    """

    curves: Curves
    costs: tuple[str, ...]
    scope: Scope
    problem: Coupled
    menu: Menu

    @classmethod
    def over(cls, curves: Curves, costs: Iterable[str], scope: Scope = "model") -> Allocator:
        """The table for budgets on these costs.

        Raises:
            InputError: an unknown cost.
        """
        names = tuple(costs)
        priced = [cost_in(curves, name) for name in names]
        curves = curves.under(names)
        return cls(curves, names, scope, *assembled(curves, priced, scope != "sites"))

    @classmethod
    def of(cls, curves: Curves, budget: Budget) -> Allocator:
        """The table for this budget and for others on the same costs."""
        return cls.over(curves, budget.limits, budget.of)

    def plan(self, budget: Budget) -> Plan:
        """The plan of least predicted loss, see ``allocate``.

        Raises:
            BudgetError: no choice is cheap enough.
            InputError: the budget is on other costs than the table.
        """
        limits, options = self._limits(budget), self.problem.options
        if self.problem.states:
            picked, bound = solve_coupled(self.problem, limits)
        else:
            picked = solve(options, limits)
            bound = 0.0 if picked is None else options.loss(picked)
        if picked is None:
            raise BudgetError(
                "each limit of this budget can be met alone, but no choice of options was found "
                "that meets all of them at once; raise one of them"
            )
        return self._planned(picked, budget, bound)

    def hull(self) -> list[Plan]:
        """The plans on the lower hull of loss against the first cost, see ``eckart.hull``."""
        if self.problem.states:
            columns = coupled_hull(self.problem)
            return [self._planned(column.picked, bound=column.loss) for column in columns]
        options = self.problem.options
        picked = options.least(options.costs[0])
        plans = [self._planned(picked)]
        for site, option in lower_hull(options):
            picked[site] = option
            plans.append(self._planned(picked))
        return plans

    def uniform(self, budget: Budget) -> Plan:
        """The plan that keeps one fraction everywhere, see ``eckart.uniform``.

        Raises:
            BudgetError: even the smallest fraction is too expensive.
        """
        limits = self._limits(budget)
        whole = self.problem.fixed(tuple(count - 1 for count in self.problem.states))
        options = self.problem.options.within(whole)
        dense = [options.members(site)[-1] for site in range(options.sites)]
        share = (options.costs / unit_of(options.costs[:, dense])[:, options.site]).max(0)
        least = options.least(share)
        for fraction in np.union1d(share, 1.0)[::-1]:
            within = share <= np.maximum(fraction, share[least][options.site])
            picked = options.least(np.where(within, options.losses, np.inf))
            if options.fits(picked, limits):
                return self._planned([int(whole[i]) for i in picked], budget)
        raise BudgetError("no uniform fraction meets this budget; raise it or use allocate")

    def _planned(
        self, picked: Sequence[int], budget: Budget | None = None, bound: float | None = None
    ) -> Plan:
        return planned(self.curves, [self.menu[i] for i in picked], budget, bound)

    def _limits(self, budget: Budget) -> Vector:
        """What the chosen options may cost in total: the budget minus what cannot change."""
        if (tuple(budget.limits), budget.of) != (self.costs, self.scope):
            raise InputError(
                f"this table is for limits on {', '.join(self.costs)} of the {self.scope}, but the "
                f"budget limits {', '.join(budget.limits)} of the {budget.of}: make another table "
                "with Allocator.of(curves, budget)"
            )
        return np.array([self._limit(i, name, budget) for i, name in enumerate(self.costs)], float)

    def _limit(self, index: int, name: str, budget: Budget) -> float:
        options, limit = self.problem.options, budget.limits[name]
        costs = options.costs[index]
        dense = sum(costs[options.members(site)[-1]] for site in range(options.sites))
        whole = dense if budget.of == "sites" else self.curves.totals.get(name, dense)
        whole -= self.curves.unreached.get(name, 0) if budget.of == "reached" else 0
        allowed = self._allowed(limit, whole, cost_in(self.curves, name))
        prices = np.eye(len(self.costs))[index]
        reachable = whole - dense + self.problem.best(prices, loss=0.0)[0].costs[index]
        if reachable > allowed:
            raise BudgetError(
                f"budget {name}={limit} of the {budget.of} cannot be met: the least reachable is "
                f"{amount(reachable)} of {amount(whole)} ({reachable / (whole or 1):.4f}). "
                + what_stays(self.curves, name, float(whole), self.scope)
            )
        return float(allowed - (whole - dense))

    @staticmethod
    def _allowed(limit: Amount, whole: float, cost: Cost) -> float:
        """The limit as an amount."""
        if not is_fraction(limit):
            return limit
        return float(np.floor(limit * whole + 1e-9)) if cost.counted else limit * whole

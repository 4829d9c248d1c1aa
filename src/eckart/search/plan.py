"""Choose and apply, and choose anew where the network does not run with what was chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from eckart.errors import InputError
from eckart.moments import Moments
from eckart.network.plan_attribute import made_by
from eckart.records import Budget, Curves, Plan, Score, ToleranceSearch
from eckart.scores import Evaluate
from eckart.search.bisection import smallest_passing
from eckart.stages.allocate import allocate, hull, unchanged
from eckart.stages.apply import apply


@dataclass
class Search:
    """Chooses a plan: the best within a budget, or the smallest whose score is good enough."""

    model: nn.Module
    moments: Moments
    evaluate: Evaluate | None
    goal: Budget | float
    evaluations: int = 0
    last: ToleranceSearch | None = None

    def choose(self, options: Curves) -> Plan:
        """One plan from these options."""
        if isinstance(self.goal, Budget):
            return allocate(options, self.goal)
        whole = options.totals["params"]
        plans = [plan for plan in hull(options) if plan.costs["params"] < whole]

        def score(index: int) -> Score:
            return self._score(apply(self.model, plans[index], self.moments))

        sizes = [plan.costs["params"] for plan in plans]
        found, self.last = smallest_passing(sizes, score, self._dense, whole, self.goal)
        self.evaluations += self.last.evaluations
        if found is None:
            return unchanged(options, f"nothing smaller was within {self.goal:g} of dense")
        return plans[found]

    @cached_property
    def _dense(self) -> Score:
        return self._score(self.model)

    def _score(self, model: nn.Module) -> Score:
        if self.evaluate is None:
            raise InputError("a tolerance needs evaluate=")
        return Score.of(self.evaluate(model))


def fitted(
    model: nn.Module, moments: Moments, options: Curves, choose: Callable[[Curves], Plan]
) -> tuple[nn.Module, Curves]:
    """Choose and apply; where a layer had to be restored, it stays dense and we choose anew."""
    while True:
        plan = choose(options)
        smaller = apply(model, plan, moments)
        done = made_by(smaller)
        restored = {name: done.dense[name] for name in plan.choices if name in done.dense}
        if not restored:
            return smaller, options
        options = options.without(restored)

"""Choose a plan and apply it; if the network does not run with it, choose again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

from torch import nn

from eckart.errors import InputError
from eckart.methods import Cache
from eckart.moments import Moments
from eckart.records import Budget, Curves, Plan, Score, ToleranceSearch
from eckart.scores import Evaluate
from eckart.search.bisection import smallest_passing
from eckart.search.refined import refined_twice
from eckart.stages.allocate import allocate, hull, unchanged
from eckart.stages.apply import Applied, applied, refined


@dataclass
class Search:
    """Chooses a plan: the best within a budget, or the smallest whose score is good enough."""

    model: nn.Module
    moments: Moments
    evaluate: Evaluate | None
    goal: Budget | float
    cache: Cache
    evaluations: int = 0
    last: ToleranceSearch | None = None

    def choose(self, options: Curves) -> Plan:
        """Choose one plan from these options; within a budget, once more after refinement."""
        if isinstance(self.goal, Budget):
            return refined_twice(options, partial(allocate, budget=self.goal), self._refined)
        whole = options.totals["params"]
        plans = [plan for plan in hull(options) if plan.costs["params"] < whole]

        def score(index: int) -> Score:
            found = applied(self.model, plans[index], self.moments, self.cache)
            return self._score(found.model)

        sizes = [plan.costs["params"] for plan in plans]
        found, self.last = smallest_passing(sizes, score, self._dense, whole, self.goal)
        self.evaluations += self.last.evaluations
        if found is None:
            return unchanged(options, f"nothing smaller was within {self.goal:g} of dense")
        return plans[found]

    def _refined(self, plan: Plan) -> Plan:
        return refined(self.model, plan, self.moments, self.cache)

    @cached_property
    def _dense(self) -> Score:
        return self._score(self.model)

    def _score(self, model: nn.Module) -> Score:
        if self.evaluate is None:
            raise InputError("a tolerance needs evaluate=")
        return Score.of(self.evaluate(model))


def fitted(
    model: nn.Module,
    moments: Moments,
    options: Curves,
    choose: Callable[[Curves], Plan],
    cache: Cache,
) -> tuple[Applied, Curves]:
    """Choose and apply a plan; layers that had to be restored stay dense, and we choose again."""
    while True:
        plan = choose(options)
        found = applied(model, plan, moments, cache)
        dense = found.plan.dense
        restored = {name: dense[name] for name in plan.choices if name in dense}
        if not restored:
            return found, options
        options = options.without(restored)

"""Choose and apply, and choose anew where the network does not run with what was chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from eckart.errors import InputError
from eckart.provenance import made_by
from eckart.records import Budget, Curves, Moments, Plan, Score
from eckart.scores import Evaluate
from eckart.stages.allocate import allocate, cheapest_passing, hull
from eckart.stages.apply import apply


@dataclass
class Search:
    """Chooses a plan: the best within a budget, or the cheapest whose score is good enough."""

    model: nn.Module
    moments: Moments
    evaluate: Evaluate | None
    goal: Budget | float
    evaluations: int = 0

    def choose(self, options: Curves) -> Plan:
        """One plan from these options."""
        if isinstance(self.goal, Budget):
            return allocate(options, self.goal)
        reference, goal = self._score(self.model), self.goal

        def passes(plan: Plan) -> bool:
            score = self._score(apply(self.model, plan, self.moments))
            return score.drop_from(reference) <= goal

        plan, tried = cheapest_passing(hull(options), passes)
        self.evaluations += tried
        return plan

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

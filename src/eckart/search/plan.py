"""Choose a plan and apply it; if the network does not run with it, choose again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from eckart.search.sequence import Judge, smallest_shown
from eckart.stages.allocate import allocate, hull, unchanged
from eckart.stages.apply import Applied, applied, refined


@dataclass
class Search:
    """Chooses a plan: the best within a budget, or the smallest whose score is good enough.

    With a confidence, it is the smallest that is shown to be good enough.
    """

    model: nn.Module
    moments: Moments
    evaluate: Evaluate | None
    goal: Budget | float
    cache: Cache
    confidence: float | None = None
    evaluations: int = 0
    last: ToleranceSearch | None = None

    def choose(self, options: Curves) -> Plan:
        """Choose one plan from these options; within a budget, once more after refinement."""
        if isinstance(self.goal, Budget):
            return refined_twice(options, partial(allocate, budget=self.goal), self._refined)
        plans = [p for p in hull(options) if p.costs["params"] < options.totals["params"]]
        whole = int(options.totals["params"])
        found, self.last = self._searched(plans, whole, self.goal)
        self.evaluations += self.last.evaluations
        if found is None:
            return unchanged(options, f"nothing smaller {self._failed} {self.goal:g} of dense")
        return plans[found]

    def _refined(self, plan: Plan) -> Plan:
        return refined(self.model, plan, self.moments, self.cache)

    def _searched(
        self, plans: Sequence[Plan], whole: int, tolerance: float
    ) -> tuple[int | None, ToleranceSearch]:
        """The index of the plan that is chosen, and all that were tried."""

        def network(index: int) -> nn.Module:
            return applied(self.model, plans[index], self.moments, self.cache).model

        def score(index: int) -> Score:
            return self._score(network(index))

        sizes = [int(plan.costs["params"]) for plan in plans]
        if self._judge is not None:
            return smallest_shown(sizes, network, self._judge, whole)
        return smallest_passing(sizes, score, self._dense, whole, tolerance)

    @property
    def _failed(self) -> str:
        """What nothing smaller was; also how many examples are missing, if there are too few."""
        if self._judge is None:
            return "was within"
        needed, n = self._judge.needed, len(self._judge.dense)
        few = f", which takes {needed:,} examples or more where there are {n:,}," * (n < needed)
        return f"was shown, with confidence {self.confidence:g}{few} to be within"

    @cached_property
    def _dense(self) -> Score:
        return self._score(self.model)

    @cached_property
    def _judge(self) -> Judge | None:
        if self.confidence is None or isinstance(self.goal, Budget):
            return None
        return Judge.of(self._evaluate, self.model, self.goal, self.confidence)

    def _score(self, model: nn.Module) -> Score:
        return Score.of(self._evaluate(model))

    @property
    def _evaluate(self) -> Evaluate:
        if self.evaluate is None:
            raise InputError("a tolerance needs evaluate=")
        return self.evaluate


def fitted(
    model: nn.Module,
    moments: Moments,
    options: Curves,
    choose: Callable[[Curves], Plan],
    cache: Cache,
    *,
    shown: bool = False,
) -> tuple[Applied, Curves]:
    """Choose and apply a plan; layers that had to be restored stay dense, and we choose again.

    Args:
        model: the dense network.
        moments: the moments behind the options.
        options: what to choose from.
        choose: a plan from options.
        cache: of states.
        shown: whether a plan is chosen because its very network was shown to be good enough. A
            second choice from the same data would spend the error twice, so restored layers are
            found before, by applying the smallest plan, and what is chosen is final.
    """
    while shown and (restored := _restored(_smallest(options), model, moments, cache)[1]):
        options = options.without(restored)
    while True:
        found, restored = _restored(choose(options), model, moments, cache)
        if shown or not restored:
            return found, options
        options = options.without(restored)


def _restored(
    plan: Plan, model: nn.Module, moments: Moments, cache: Cache
) -> tuple[Applied, dict[str, str]]:
    """A plan applied, and why layers that it changes had to be restored."""
    found = applied(model, plan, moments, cache)
    return found, {
        name: found.plan.dense[name] for name in plan.choices if name in found.plan.dense
    }


def _smallest(options: Curves) -> Plan:
    """The plan with the fewest parameters, which changes the most layers."""
    return hull(options)[0]

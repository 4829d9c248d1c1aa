"""A network that is within a limit of milliseconds when it is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from torch import nn

from eckart.errors import BudgetError, InputError
from eckart.network.plan_attribute import attach_plan
from eckart.records import Budget, Curves
from eckart.records.budgets import MS, is_fraction
from eckart.records.timings import Timings
from eckart.running.arguments import check_kind
from eckart.running.batches import batch_of
from eckart.runtimes import runtime_named
from eckart.runtimes.pace import Pace, Pacer
from eckart.search.plan import Search, fitted
from eckart.stages.apply import Applied
from eckart.stages.profile import terms_of

_MOST = 6  # networks that are built
_FULL = 0.95  # a network that uses this much of the limit is good enough
_MARGIN = 0.98  # aim this much lower than the ratio of times says, after a network was too slow
_ALL = 0.999  # the highest fraction of dense to aim at
_HIGHER, _MOST_MISSED = 1.08, 3  # how to go on where no plan is within the budget as predicted
_REPEATS = 2  # measurements that must all be within the limit


@dataclass(frozen=True)
class Timed:
    """A network within the limit.

    Attributes:
        applied: the network and its plan.
        options: the curves that it was chosen from.
        pace: the slowest measurement of it.
        built: number of networks that were built to find it.
    """

    applied: Applied
    options: Curves
    pace: Pace
    built: int = 0


def within_ms(
    budget: Budget,
    attempt: Callable[[Budget], tuple[Applied, Curves]],
    pacer: Pacer,
    dense_ms: float,
) -> Timed:
    """Plan, build and measure; aim lower where the network is too slow, higher where it is not.

    A network is within the limit if two measurements say so. Of those that are, the one of least
    predicted loss is returned.

    Args:
        budget: with a limit in milliseconds.
        attempt: the network of a plan that is within a budget as predicted, and its curves.
        pacer: measures networks beside the dense one.
        dense_ms: what the dense network takes, as it was profiled.

    Raises:
        BudgetError: none of the networks was within the limit; says how fast they were.
    """
    limit = budget.limits[MS]
    search = _Search(limit if is_fraction(limit) else limit / dense_ms)
    refused: BudgetError | None = None
    while search.goes_on:
        try:
            applied, options = attempt(replace(budget, ms=search.aim))
        except BudgetError as error:
            refused = refused or error
            if search.may_aim_higher():  # what is out of reach as predicted may not be as measured
                continue
            break
        pace = _slowest(pacer.of(applied.model), limit)
        search.learn(Timed(applied, options, pace), pace.spent(limit))
    if refused is not None and not search.tried:
        raise refused
    if search.best is None:
        fastest = min((timed.pace for timed in search.tried), key=lambda pace: pace.share)
        raise BudgetError(
            f"no network within ms={limit} was found: the fastest of {len(search.tried)} that were "
            f"built takes {fastest}; raise the limit, or offer more methods"
        )
    best = search.best
    plan = replace(best.applied.plan, budget=budget)
    model = attach_plan(best.applied.model, plan)
    return replace(best, applied=Applied(model, plan), built=len(search.tried))


def timed_network(search: Search, budget: Budget, options: Curves, timings: Timings) -> Timed:
    """The network of least predicted loss found within a budget whose time is measured here.

    Raises:
        BudgetError: none was within the limit.
        MismatchError: the timings are from another machine, or of another network.
    """
    options = options.timed(timings)

    def attempt(aimed: Budget) -> tuple[Applied, Curves]:
        choose = replace(search, goal=aimed).choose
        return fitted(search.model, search.moments, options, choose, search.cache)

    pacer = pacer_of(search.model, search.moments.example, timings)
    return within_ms(budget, attempt, pacer, timings.dense_ms)


def pacer_of(model: nn.Module, example: Any, timings: Timings) -> Pacer:
    """What measures networks beside the dense one on the terms of the timings.

    Raises:
        MismatchError: these are not the terms here.
    """
    terms = timings.terms
    runtime = runtime_named(terms.runtime)
    terms.check(terms_of(model, runtime, terms.batch, terms.threads))
    return Pacer(runtime, model, batch_of(example, terms.batch), terms.threads)


def check_timings(goal: object, timings: Timings | None) -> None:
    """Raise ``InputError`` if a budget in milliseconds comes without complete timings."""
    if timings is not None:
        check_kind("timings", timings, Timings)
        _ = timings.dense_ms
    elif isinstance(goal, Budget) and goal.ms is not None:
        raise InputError(
            "a budget in milliseconds needs timings: make them with eckart.profile(model, moments, "
            "runtime=…), and pass timings="
        )


def _slowest(measure: Callable[[], Pace], limit: float) -> Pace:
    """The slowest of the measurements of one network, up to the first that is over the limit."""
    found = [measure()]
    while len(found) < _REPEATS and found[-1].spent(limit) <= 1:
        found.append(measure())
    return max(found, key=lambda pace: pace.spent(limit))


class _Search:
    """Where to aim next: between the highest aim that held and the lowest that did not."""

    def __init__(self, aim: float) -> None:
        self.aim = min(aim, _ALL)
        self.tried: list[Timed] = []
        self.best: Timed | None = None
        self.held, self.failed, self.missed = 0.0, inf, list[float]()
        self.goes_on = True

    def may_aim_higher(self) -> bool:
        """Aim a little higher after a budget out of reach, a few times, below what failed."""
        self.missed.append(self.aim)
        self.aim *= _HIGHER
        return len(self.missed) <= _MOST_MISSED and self.aim < min(self.failed, _ALL)

    def learn(self, timed: Timed, spent: float) -> None:
        """Take in a network that uses this much of the limit, and decide where to aim next."""
        again = self._is_known(timed)
        self.tried.append(timed)
        if spent <= 1:
            self.held = max(self.held, self.aim)
            if self.best is None or timed.applied.plan.loss < self.best.applied.plan.loss:
                self.best = timed
        else:
            self.failed = min(self.failed, self.aim)
        aim = min(self.aim / spent, _ALL) * (1 if spent <= 1 else _MARGIN)
        least = max([self.held, *self.missed])
        if not least < aim < self.failed:
            aim = (least + min(self.failed, _ALL)) / 2
        full = _FULL <= spent <= 1 or (again and self.best is not None)
        self.goes_on = not full and aim != self.aim and len(self.tried) < _MOST
        self.aim = aim

    def _is_known(self, timed: Timed) -> bool:
        plan = timed.applied.plan
        known = [other.applied.plan for other in self.tried]
        return any((p.choices, p.removals) == (plan.choices, plan.removals) for p in known)

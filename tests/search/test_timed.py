"""A budget in milliseconds holds as measured, on a runtime whose costs are known."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

import eckart
from eckart.errors import BudgetError, InputError, MismatchError
from eckart.methods import Cache
from eckart.runtimes.clocks import Times
from eckart.runtimes.pace import Pace
from eckart.search.plan import Search
from eckart.search.timed import timed_network, within_ms
from eckart.stages.apply import Applied
from known_runtime import KnownRuntime, known  # noqa: F401

BATCH, METHODS = 4, ["weighted_svd", "spatial"]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 10),
    ).eval()


@pytest.fixture(scope="module")
def moments(network: nn.Module) -> eckart.Moments:
    torch.manual_seed(0)
    return eckart.calibrate(network, [torch.randn(16, 3, 12, 12)], progress=False)


def profiled(network: nn.Module, moments: eckart.Moments):
    return eckart.profile(network, moments, runtime="known", batch=BATCH, threads=1)


def share(runtime: KnownRuntime, dense: nn.Module, smaller: nn.Module) -> float:
    inputs = torch.randn(BATCH, 3, 12, 12)
    return runtime.network_ms(smaller, inputs) / runtime.network_ms(dense, inputs)


@pytest.fixture(scope="module")
def options(network: nn.Module, moments: eckart.Moments) -> eckart.Curves:
    return eckart.curves(network, moments, methods=METHODS, progress=False)


def timed(network, moments, options, budget, timings):
    """The network that is found, and how many were built."""
    cache = Cache.beside(moments, options.states)
    return timed_network(Search(network, moments, None, budget, cache), budget, options, timings)


@pytest.mark.parametrize("limit", [0.8, 0.65, 0.5])
def test_where_the_model_is_exact_the_plan_is_within_the_budget_at_once(
    network,
    moments,
    options,
    known,  # noqa: F811
    limit,
):
    timings = profiled(network, moments)
    plan = eckart.allocate(options, eckart.Budget(ms=limit), timings=timings)
    smaller = eckart.apply(network, plan, moments)
    found = share(known, network, smaller)
    assert found <= limit
    assert plan.costs["ms"] == pytest.approx(plan.totals["ms"] * found, rel=0.02)
    assert plan.totals["ms"] == timings.dense_ms


def test_nothing_slower_than_dense_is_taken(network, moments, options, known):  # noqa: F811
    timings = profiled(network, moments)
    options = options.timed(timings)
    before = {c.site.name: len(c.options) for c in options.curves}
    faster = options.under(["ms", "params"])
    for curve in faster.curves:
        spec = options.specs[curve.site.name]
        dense = timings.ms(spec, spec.dense)
        assert all(timings.ms(spec, o.form) <= dense for o in curve.options)
    assert sum(len(c.options) for c in faster.curves) < sum(before.values())
    assert {c.site.name: len(c.options) for c in options.under(["params"]).curves} == before


def test_compress_tightens_until_it_holds(network, moments, known):  # noqa: F811
    timings = profiled(network, moments)
    known.per_factor_ms = 0.15 * timings.dense_ms / 8  # what the table does not know
    found = eckart.compress(
        network, moments, budget=eckart.Budget(ms=0.6), timings=timings, methods=METHODS
    )
    assert share(known, network, found.model) <= 0.6
    assert found.plan.budget == eckart.Budget(ms=0.6)
    assert found.dense is not None
    assert found.smaller is not None
    assert found.smaller.latency_ms == pytest.approx(
        known.network_ms(found.model, torch.randn(BATCH, 3, 12, 12))
    )
    assert found.smaller.runtime == "known"
    assert "ms (0." in str(found)
    assert "in known, batch 4, 1 thread" in str(found)
    built = {id(model) for model in known.prepared}
    assert len(built) <= 1 + 3 + 1 + 6


def test_absolute_milliseconds_and_two_limits(network, moments, options, known):  # noqa: F811
    timings = profiled(network, moments)
    known.per_factor_ms = 0.01
    ms = 0.7 * timings.dense_ms
    assert ms > 1
    found = timed(network, moments, options, eckart.Budget(ms=ms, params=0.6), timings)
    assert known.network_ms(found.applied.model, torch.randn(BATCH, 3, 12, 12)) <= ms
    plan = found.applied.plan
    assert plan.costs["params"] <= 0.6 * plan.totals["params"]
    assert found.built <= 6


class Paces:
    """Stands for a pacer: each network takes its measured shares in turn."""

    def __init__(self, *shares: list[float]) -> None:
        self.shares = [*shares]
        self.measured: list[float] = []

    def of(self, model: nn.Module) -> Callable[[], Pace]:
        left = iter(self.shares.pop(0))

        def pace() -> Pace:
            self.measured.append(next(left))
            return Pace(Times((1.0,)), Times((self.measured[-1],)))

        return pace


def attempts(aims: list[float]) -> Callable[[eckart.Budget], tuple[Applied, None]]:
    """Plans of more loss the lower the aim, which is noted."""

    def attempt(budget: eckart.Budget) -> tuple[Applied, None]:
        assert budget.ms is not None
        aims.append(float(budget.ms))
        given = {"choices": {}, "dense": {"a": str(budget.ms)}, "fingerprint": "", "damping": 0.0}
        removal = {str(budget.ms): None}
        plan = eckart.Plan(**given, loss=1 - aims[-1], costs={}, totals={}, removals=removal)
        return Applied(nn.Identity(), plan), None

    return attempt


def test_one_lucky_run_is_not_enough():
    aims: list[float] = []
    paces = Paces([0.59, 0.66], [0.57, 0.585])
    found = within_ms(eckart.Budget(ms=0.6), attempts(aims), paces, dense_ms=7.0)
    assert aims == pytest.approx([0.6, 0.6 * 0.6 / 0.66 * 0.98])
    assert paces.measured == [0.59, 0.66, 0.57, 0.585]
    assert found.pace.share == pytest.approx(0.585)  # the slower of two
    assert found.built == 2


def test_a_network_that_is_too_slow_is_measured_once():
    aims: list[float] = []
    paces = Paces([0.7], [0.58, 0.58])
    within_ms(eckart.Budget(ms=0.6), attempts(aims), paces, dense_ms=7.0)
    assert paces.measured == [0.7, 0.58, 0.58]


def test_a_network_that_is_faster_than_needed_is_followed_by_a_larger_one():
    aims: list[float] = []
    paces = Paces([0.5, 0.5], [0.63], [0.58, 0.58])
    found = within_ms(eckart.Budget(ms=0.6), attempts(aims), paces, dense_ms=7.0)
    assert aims[:2] == pytest.approx([0.6, 0.72])
    assert 0.6 < aims[2] < 0.72
    assert found.applied.plan.loss == pytest.approx(1 - aims[2])


def test_at_most_six_networks_are_built():
    aims: list[float] = []
    with pytest.raises(BudgetError, match=r"of 6 that were built takes 0.7 ms of 1 \(0.70 × dense"):
        within_ms(eckart.Budget(ms=0.6), attempts(aims), Paces(*[[0.7]] * 6), dense_ms=7.0)
    assert aims == sorted(aims, reverse=True)
    assert len(aims) == 6


def test_what_is_out_of_reach_as_predicted_may_be_within_as_measured():
    aims: list[float] = []
    attempt = attempts(aims)

    def from_065(budget: eckart.Budget) -> tuple[Applied, None]:
        if budget.ms < 0.65:
            raise BudgetError("out of reach as predicted")
        return attempt(budget)

    found = within_ms(eckart.Budget(ms=0.6), from_065, Paces([0.58, 0.59]), dense_ms=7.0)
    assert aims == pytest.approx([0.6 * 1.08**2])
    assert found.pace.share == pytest.approx(0.59)
    with pytest.raises(BudgetError, match="as predicted"):
        within_ms(eckart.Budget(ms=0.3), from_065, Paces(), dense_ms=7.0)


def test_an_absolute_limit_is_aimed_at_as_a_fraction():
    aims: list[float] = []
    paces = Paces([1.6], [1.45, 1.45])
    found = within_ms(eckart.Budget(ms=1.5), attempts(aims), paces, dense_ms=3.0)
    assert aims == pytest.approx([0.5, 0.5 * 1.5 / 1.6 * 0.98])
    assert found.applied.plan.budget == eckart.Budget(ms=1.5)


def test_a_limit_out_of_reach_says_what_cannot_shrink(network, moments, options, known):  # noqa: F811
    timings = profiled(network, moments)
    with pytest.raises(BudgetError, match=r"ms=0.01 of the model cannot be met.*outside of layers"):
        timed(network, moments, options, eckart.Budget(ms=0.01), timings)


def test_milliseconds_need_timings_of_here(network, moments, options, known):  # noqa: F811
    with pytest.raises(InputError, match="needs timings"):
        eckart.compress(network, moments, budget=eckart.Budget(ms=0.5))
    with pytest.raises(InputError, match="needs timings"):
        eckart.allocate(options, eckart.Budget(ms=0.5))
    timings = profiled(network, moments)
    elsewhere = replace(timings, terms=replace(timings.terms, machine="an abacus"))
    with pytest.raises(MismatchError, match="machine 'an abacus' instead of"):
        timed(network, moments, options, eckart.Budget(ms=0.5), elsewhere)


def test_a_pace_takes_the_larger_of_two_figures():
    pace = Pace(Times((2.0, 2.0, 4.0)), Times((1.0, 1.2, 2.8)))
    assert pace.share == pytest.approx(0.6)  # the fastest say 0.5; of pairs, 0.5, 0.6 and 0.7
    assert pace.spent(0.5) == pytest.approx(1.2)
    assert pace.spent(2) == pytest.approx(0.6)  # of 2 milliseconds


def test_a_frontier_in_milliseconds_holds_at_every_point(network, moments, options, known):  # noqa: F811
    timings = profiled(network, moments)
    known.per_factor_ms = 0.02 * timings.dense_ms  # what the table does not know
    found = eckart.frontier(
        network,
        moments,
        None,
        keeps=(0.9, 0.7),
        cost="ms",
        timings=timings,
        options=options,
        progress=False,
    )
    for keep in (0.9, 0.7):
        (point,) = (p for p in found.labelled("eckart") if p.keep == keep)
        assert point.measurement.runtime == "known"
        assert point.measurement.latency_ms <= keep * found.dense.latency_ms
    with pytest.raises(InputError, match="needs timings"):
        eckart.frontier(network, moments, None, cost="ms", options=options)

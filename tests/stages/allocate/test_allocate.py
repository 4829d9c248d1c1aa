"""The allocator against brute force, and what it says when it cannot."""

import re
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eckart.costs import COSTS, Cost
from eckart.errors import BudgetError, InputError
from eckart.records import Budget, Curves, Form, LayerSpec, Piece
from eckart.stages.allocate import Allocator, allocate, hull, unchanged, uniform
from eckart.stages.allocate.knapsack import Knapsack
from eckart.stages.allocate.solving import solve
from random_curves import cheapest_loss, curves_of, spec

LOSS = st.one_of(st.sampled_from([0.0, 1.0, 2.0]), st.floats(1e-6, 1e3))


SITE = st.tuples(
    st.integers(3, 9),  # inputs
    st.integers(3, 9),  # outputs
    st.integers(1, 5),  # rows
    st.booleans(),  # bias
    st.dictionaries(st.integers(1, 3), LOSS, max_size=3),  # loss by rank
)
SITES = st.lists(SITE, min_size=1, max_size=3)
METRICS = st.sampled_from(["bytes", "macs", "params"])
LIMITS = st.dictionaries(METRICS, st.floats(0.3, 1.0), min_size=1)
SCOPE = st.sampled_from(["model", "sites"])


def small_curves(sites: list[tuple]) -> Curves:
    """A few linear layers with a few ranks each; ties and zero losses among them."""
    specs = [
        spec(f"layer{i}", Piece(inputs, outputs, bias=bias), (rows,))
        for i, (inputs, outputs, rows, bias, _) in enumerate(sites)
    ]
    return curves_of(specs, [sorted(losses.items()) for *_, losses in sites], extra=50)


def budget_of(limits: dict[str, float], of: str) -> Budget:
    own = {name: limits.get(name) for name in ("params", "macs", "bytes")}
    return Budget(**own, of=of, costs={k: v for k, v in limits.items() if k not in own})


def three_layers(**fields: object) -> Curves:
    specs = [spec(f"layer{i}", Piece(20, 30), (i + 1,)) for i in range(3)]
    losses = [[(r, 2.0**-r * (i + 1)) for r in range(1, 12)] for i in range(3)]
    return curves_of(specs, losses, extra=400, **fields)


@given(sites=SITES, limits=LIMITS, of=SCOPE)
def test_equals_brute_force(sites: list[tuple], limits: dict[str, float], of: str):
    curves, budget = small_curves(sites), budget_of(limits, of)
    best = cheapest_loss(curves, budget)
    if best is None:
        with pytest.raises(BudgetError):
            allocate(curves, budget)
        return
    plan = allocate(curves, budget)
    assert plan.loss == pytest.approx(best, rel=1e-6, abs=1e-9)
    for name, limit in budget.limits.items():
        whole = curves.totals[name]
        if budget.of == "sites":
            sites = curves.specs.values()
            whole = sum(COSTS[name].of(s, s.dense) for s in sites)
        spent = plan.costs[name] - (curves.totals[name] - whole)
        assert spent <= limit * whole + 1e-6
    assert plan.loss == pytest.approx(sum(c.loss for c in plan.choices.values()), rel=1e-12)


@given(
    seed=st.integers(0, 10**6),
    metrics=st.integers(1, 2),
    scale=st.sampled_from([1.0, 1e9]),
    spread=st.sampled_from([0, 8]),
)
def test_the_limit_is_exact_whatever_the_scale(seed: int, metrics: int, scale: float, spread: int):
    """Limits one unit below the cost of some choice, losses over many orders of magnitude."""
    rng = np.random.default_rng(seed)
    sites, options = 4, 6
    costs = np.floor(rng.random((metrics, sites * options)) * scale * 100) + 1
    losses = rng.random(sites * options) * 10.0 ** -rng.integers(0, spread + 1, sites * options)
    problem = Knapsack(np.repeat(np.arange(sites), options), losses, costs)
    grid = np.indices((options,) * sites).reshape(sites, -1) + options * np.arange(sites)[:, None]
    totals, values = costs[:, grid].sum(1), losses[grid].sum(0)
    limits = totals[:, rng.integers(totals.shape[1])] - 1
    fits = (totals <= limits[:, None]).all(0)
    picked = solve(problem, limits)
    if not fits.any():
        assert picked is None
        return
    assert picked is not None
    assert problem.fits(picked, limits)
    assert losses[picked].sum() == pytest.approx(values[fits].min(), rel=1e-6, abs=0)


@given(sites=SITES)
def test_a_larger_budget_never_raises_the_loss(sites: list[tuple]):
    curves = small_curves(sites)
    losses = []
    for fraction in np.linspace(0.3, 1.0, 8):
        try:
            losses.append(allocate(curves, Budget(params=float(fraction))).loss)
        except BudgetError:
            assert not losses, "a larger budget cannot be out of reach"
    assert all(b <= a * (1 + 1e-9) for a, b in pairwise(losses))
    assert losses[-1] == 0


@settings(max_examples=50)
@given(sites=SITES, metric=METRICS)
def test_every_plan_of_the_hull_is_optimal_for_its_cost(sites: list[tuple], metric: str):
    curves = small_curves(sites)
    plans = hull(curves, metric)
    costs = [plan.costs[metric] for plan in plans]
    assert costs == sorted(set(costs))
    for plan in plans:
        best = cheapest_loss(curves, Budget(**{metric: plan.costs[metric]}))
        assert plan.loss == pytest.approx(best, rel=1e-9, abs=1e-12)
    assert plans[-1].loss == 0


def test_the_hull_is_convex():
    plans = hull(three_layers())
    slopes = [
        (b.loss - a.loss) / (b.costs["params"] - a.costs["params"]) for a, b in pairwise(plans)
    ]
    assert len(plans) > 10
    assert all(a <= b + 1e-12 for a, b in pairwise(slopes))


@pytest.mark.parametrize("of", ["model", "sites"])
def test_an_unreachable_budget_states_what_is_reachable(of: str):
    curves = three_layers()
    with pytest.raises(BudgetError, match=rf"params=0\.01 of the {of} cannot be met") as caught:
        allocate(curves, Budget(params=0.01, of=of))
    least = int(re.search(r"least reachable is (\d+)", str(caught.value))[1])
    assert set(allocate(curves, Budget(params=least, of=of)).choices) == set(curves.specs)
    with pytest.raises(BudgetError, match=f"least reachable is {least}"):
        allocate(curves, Budget(params=least - 1, of=of))


def test_limits_that_exclude_each_other_are_told_apart(monkeypatch: pytest.MonkeyPatch):
    def heat(layer: LayerSpec, form: Form) -> int:
        return 10 if form.is_plain else 20 - form.pieces[0].outputs

    monkeypatch.setitem(COSTS, "heat", Cost("heat", "kelvin", heat))
    curves = curves_of([spec("layer", Piece(20, 30))], [[(1, 3.0), (5, 1.0)]])
    with pytest.raises(BudgetError, match="each limit of this budget can be met alone"):
        allocate(curves, Budget(params=0.5, costs={"heat": 10}))
    plan = allocate(curves, Budget(params=0.5, costs={"heat": 15}))
    assert plan.choices["layer"].loss == 1.0


def test_fractions_are_of_the_model_or_of_the_sites():
    curves = three_layers()  # 1,800 in the sites, 400 elsewhere
    model, sites = (allocate(curves, Budget(params=0.5, of=of)) for of in ("model", "sites"))
    assert 1000 < model.costs["params"] <= 1100
    assert 1200 < sites.costs["params"] <= 1300


def test_absolute_amounts_count_the_same_scope():
    curves = three_layers()
    model, sites = (allocate(curves, Budget(params=900, of=of)) for of in ("model", "sites"))
    assert model == allocate(curves, Budget(params=900))
    assert model.costs["params"] <= 900 < sites.costs["params"] <= 1300


def test_the_whole_budget_changes_nothing_that_costs():
    plan = allocate(three_layers(), Budget(params=1.0))
    assert plan.choices == {}
    assert plan.costs == plan.totals
    assert plan.dense == {"stem": "asked to stay dense"} | dict.fromkeys(
        ["layer0", "layer1", "layer2"], "dense is best here"
    )


def test_a_layer_without_options_says_so():
    curves = curves_of([spec("small", Piece(2, 2)), spec("big", Piece(9, 9))], [[], [(1, 1.0)]])
    plan = allocate(curves, Budget(params=0.9))
    assert plan.dense["small"] == "no option is cheaper than dense"
    assert set(plan.choices) == {"big"}


def test_an_unknown_cost_names_the_known_ones():
    with pytest.raises(InputError, match=r"'watts'.*known: active_params, bytes, macs, params"):
        allocate(three_layers(), Budget(costs={"watts": 0.5}))


def test_a_network_without_sites_stays_as_it_is():
    curves = curves_of([], [], extra=100)
    for plan in (allocate(curves, Budget(params=1.0)), uniform(curves, Budget(params=1.0))):
        assert plan.choices == {}
        assert plan.costs == plan.totals
    with pytest.raises(BudgetError, match="least reachable is 100 of 100"):
        allocate(curves, Budget(params=0.9))


@given(sites=SITES, limits=LIMITS, of=SCOPE)
def test_uniform_never_beats_the_optimum(sites: list[tuple], limits: dict[str, float], of: str):
    curves, budget = small_curves(sites), budget_of(limits, of)
    try:
        plan = uniform(curves, budget)
    except BudgetError:
        return
    assert plan.loss >= allocate(curves, budget).loss * (1 - 1e-6) - 1e-9


def test_uniform_keeps_the_same_fraction_everywhere():
    curves = three_layers()
    plan = uniform(curves, Budget(params=0.5, of="sites"))
    assert {choice.form.rank for choice in plan.choices.values()} == {6}  # 50 r of 600, three times


def test_the_plan_that_changes_nothing():
    curves = three_layers()
    plan = unchanged(curves, "because")
    assert (plan.choices, plan.removals, plan.loss) == ({}, {}, 0.0)
    assert plan.costs == plan.totals
    assert plan.dense == dict.fromkeys(curves.specs, "because") | dict(curves.dense)


def test_twenty_budgets_of_a_residual_network_take_seconds():
    """22 sites of 150 options each, as in a ResNet-20."""
    rng = np.random.default_rng(0)
    specs, losses = [], []
    for i in range(22):
        width, size = 16 * 2 ** (i // 8), 32 // 2 ** (i // 8)
        piece = Piece(width, width, (3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1))
        specs.append(spec(f"layer{i}", piece, (size, size)))
        spectrum = np.sort(rng.lognormal(0, 3, 150))[::-1]
        losses.append([(r, float(spectrum[r:].sum())) for r in range(1, 151)])
    curves = curves_of(specs, losses)
    start = time.process_time()
    one, two = Allocator.over(curves, ["params"]), Allocator.over(curves, ["params", "macs"])
    plans = [one.plan(Budget(params=float(k))) for k in np.linspace(0.9, 0.2, 20)]
    both = [two.plan(Budget(params=float(k), macs=float(k))) for k in (0.7, 0.5, 0.3)]
    assert time.process_time() - start < 3
    assert all(a.loss <= b.loss for a, b in pairwise(plans))
    assert all(max(p.costs[m] / p.totals[m] for m in ("params", "macs")) <= 0.7 for p in both)

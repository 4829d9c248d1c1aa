"""Sites that share variables, against brute force over all joint states and options."""

from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eckart.stages.allocate import elimination, joint_states
from eckart.stages.allocate.coupled import Column, Coupled
from eckart.stages.allocate.elimination import States, Table, least_sum
from eckart.stages.allocate.hulls import coupled_hull
from eckart.stages.allocate.joint_states import solve_coupled
from eckart.stages.allocate.knapsack import Knapsack, Vector
from eckart.stages.allocate.solving import solve

SEEDS = st.integers(0, 10**6)
STATES = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
UNIT = st.sampled_from([1.0, 1e8])
METRICS = st.integers(1, 2)


def random_scopes(rng: np.random.Generator, variables: int, sites: int) -> list[States]:
    """Up to two variables for each site, in any order."""
    most = min(2, variables)
    return [
        tuple(rng.choice(variables, rng.integers(0, most + 1), replace=False).tolist())
        for _ in range(sites)
    ]


def random_tables(seed: int, states: States) -> list[Table]:
    """Tables of small whole numbers, so that ties are usual; some entries are closed."""
    rng = np.random.default_rng(seed)
    found = []
    for scope in random_scopes(rng, len(states), 5):
        table = rng.integers(0, 6, [states[v] for v in scope]).astype(float)
        table[(rng.random(table.shape) < 0.15) & (table > 0)] = np.inf
        found.append((scope, table))
    return found


def total(tables: list[Table], states: States) -> float:
    return float(sum(table[tuple(states[v] for v in scope)] for scope, table in tables))


def every(states: States) -> list[States]:
    return list(product(*(range(count) for count in states)))


def random_problem(seed: int, states: States, metrics: int) -> Coupled:
    """A few sites with up to three options in every cell, and one site per variable.

    Some cells have no option, but the last joint state is always open.
    """
    rng = np.random.default_rng(seed)
    site, cell = [], []
    scopes = [*random_scopes(rng, len(states), 3), *((v,) for v in range(len(states)))]
    for index, scope in enumerate(scopes):
        cells = int(np.prod([states[v] for v in scope]))
        for entry in range(cells):
            count = rng.integers(entry == cells - 1, 4) if index < 3 else 1
            site += [index] * count
            cell += [entry] * count
    losses = rng.random(len(site)) * 10.0 ** rng.integers(-3, 2, len(site))
    losses[rng.random(len(site)) < 0.2] = 0.0
    costs = rng.integers(1, 60, (metrics, len(site))).astype(float)
    return Coupled(
        Knapsack(np.array(site, np.intp), losses, costs),
        tuple(scopes),
        np.array(cell, np.intp),
        states,
    )


def scaled(problem: Coupled, losses: float, costs: float) -> Coupled:
    """The same problem in other units."""
    options = problem.options
    other = Knapsack(options.site, losses * options.losses, costs * options.costs)
    return Coupled(other, problem.scopes, problem.cell, problem.states)


@dataclass(frozen=True)
class Every:
    """Losses and costs of all choices."""

    losses: Vector
    costs: Vector

    def least(self, limits: Vector) -> float:
        """The least loss within the limits; infinite where nothing fits."""
        fits = (self.costs <= limits[:, None]).all(0)
        return float(self.losses[fits].min(initial=np.inf))


def enumerated(problem: Coupled) -> Every:
    losses, costs = [], []
    for states in every(problem.states):
        options = problem.options.within(problem.fixed(states))
        members = [options.members(i) for i in range(len(problem.scopes))]
        grid = np.stack([axis.ravel() for axis in np.meshgrid(*members)])
        losses.append(options.losses[grid].sum(0))
        costs.append(options.costs[:, grid].sum(1))
    return Every(np.concatenate(losses), np.concatenate(costs, 1))


def assert_open(problem: Coupled, picked: list[int], states: States) -> None:
    """One option per site, all of them open in the joint state."""
    assert problem.options.site[picked].tolist() == list(range(len(problem.scopes)))
    assert set(picked) <= set(problem.fixed(states).tolist())


def some_limits(problem: Coupled, seed: int) -> tuple[Every, Vector]:
    """Limits that some choice meets exactly."""
    choices = enumerated(problem)
    return choices, choices.costs[:, seed % choices.costs.shape[1]]


@given(seed=SEEDS, states=STATES)
def test_the_least_sum_is_the_least(seed: int, states: States):
    tables = random_tables(seed, states)
    found, value = least_sum(tables, states)
    assert value == min(total(tables, each) for each in every(states))
    assert total(tables, found) == value


@given(seed=SEEDS, states=STATES, most=st.integers(1, 12))
def test_in_parts_it_is_a_bound(seed: int, states: States, most: int):
    tables = random_tables(seed, states)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elimination, "_MAX_TABLE", most)
        found, bound = least_sum(tables, states)
    assert found in every(states)
    assert bound <= min(total(tables, each) for each in every(states)) <= total(tables, found)


def test_variables_without_a_table_are_free():
    assert least_sum([((), np.array(2.0)), ((1,), np.array([3.0, 1.0]))], (4, 2)) == ((0, 1), 3.0)


@given(seed=SEEDS, states=STATES, metrics=METRICS, loss=st.sampled_from([0.0, 1.0]))
def test_the_best_at_some_prices(seed: int, states: States, metrics: int, loss: float):
    problem = random_problem(seed, states, metrics)
    prices = np.random.default_rng(seed).random(metrics)
    column, bound = problem.best(prices, loss)
    choices = enumerated(problem)
    assert bound == pytest.approx((loss * choices.losses + prices @ choices.costs).min(), rel=1e-12)
    assert loss * column.loss + prices @ column.costs == pytest.approx(bound, rel=1e-12)
    assert_open(problem, column.picked, column.states)
    assert column.loss == problem.options.loss(column.picked)


@given(seed=SEEDS, states=STATES, metrics=METRICS)
def test_of_few_joint_states_the_best_is_found(seed: int, states: States, metrics: int):
    problem = random_problem(seed, states, metrics)
    choices, limits = some_limits(problem, seed)
    picked, bound = solve_coupled(problem, limits)
    assert picked is not None
    assert any(set(picked) <= set(problem.fixed(each).tolist()) for each in every(states))
    assert problem.options.fits(picked, limits)
    assert problem.options.loss(picked) == pytest.approx(choices.least(limits), rel=1e-9)
    assert bound == pytest.approx(problem.options.loss(picked), rel=1e-12)


@given(seed=SEEDS, states=STATES, metrics=METRICS)
def test_every_choice_fits_and_the_bound_is_below_all_others(
    seed: int, states: States, metrics: int
):
    problem = random_problem(seed, states, metrics)
    choices, limits = some_limits(problem, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joint_states, "_FEW", 0)
        picked, bound = solve_coupled(problem, limits)
    best = choices.least(limits)
    assert bound <= best * (1 + 1e-9) + 1e-12
    if picked is not None:
        assert any(set(picked) <= set(problem.fixed(each).tolist()) for each in every(states))
        assert problem.options.fits(picked, limits)
        assert problem.options.loss(picked) >= best * (1 - 1e-9)


def test_losses_may_differ_by_thirty_orders_of_magnitude():
    """Twenty sites with a variable each; the limit allows the sixth state of every one."""
    sites, count = 20, 10
    state = np.tile(np.arange(count), sites)
    site = np.repeat(np.arange(sites), count)
    options = Knapsack(site, 10.0 ** (-3.0 * state), state[None].astype(float))
    scopes = tuple((variable,) for variable in range(sites))
    problem = Coupled(options, scopes, state, (count,) * sites)
    picked, bound = solve_coupled(problem, np.array([5.0 * sites]))
    assert picked is not None
    assert (state[picked] == 5).all()
    assert bound == pytest.approx(20e-15, rel=1e-6, abs=0)


@settings(max_examples=40)
@given(seed=SEEDS, states=STATES)
def test_of_many_joint_states_the_last_is_never_better(seed: int, states: States):
    """That of whole groups and factors of each layer's own."""
    problem = random_problem(seed, states, 1)
    _, limits = some_limits(problem, seed)
    last = problem.fixed(tuple(count - 1 for count in states))
    alone = solve(problem.options.within(last), limits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joint_states, "_FEW", 0)
        patch.setattr(joint_states, "_STARTS", 1)
        patch.setattr(joint_states, "_SOLVES", 0)
        picked, _ = solve_coupled(problem, limits)
    if alone is not None:
        assert picked is not None
        least = problem.options.loss([int(last[i]) for i in alone])
        assert problem.options.loss(picked) <= least * (1 + 1e-9)


@settings(max_examples=40)
@given(seed=SEEDS, states=STATES)
def test_what_can_be_met_under_one_limit_is(seed: int, states: States):
    problem = random_problem(seed, states, 1)
    choices = enumerated(problem)
    least = choices.costs.min()
    picked, _ = solve_coupled(problem, np.array([least]))
    assert picked is not None
    assert solve_coupled(problem, np.array([least - 1]))[0] is None
    assert problem.options.loss(picked) == pytest.approx(choices.least(np.array([least])))


@given(seed=SEEDS, states=STATES, metrics=METRICS)
def test_limits_that_all_choices_meet_cost_nothing(seed: int, states: States, metrics: int):
    problem = random_problem(seed, states, metrics)
    choices = enumerated(problem)
    picked, bound = solve_coupled(problem, choices.costs.max(1))
    assert picked is not None
    assert problem.options.loss(picked) == pytest.approx(choices.losses.min(), rel=1e-12)
    assert bound == pytest.approx(choices.losses.min(), rel=1e-12)


@given(seed=SEEDS, states=STATES, unit=st.sampled_from([1.0, 1e-12, 0.0]), size=UNIT)
@example(seed=129, states=(1, 1, 1), unit=1.0, size=1.0)  # several are cheapest
def test_no_choice_is_below_the_hull(seed: int, states: States, unit: float, size: float):
    problem = scaled(random_problem(seed, states, 1), unit, size)
    choices, hull = enumerated(problem), coupled_hull(problem)
    costs, losses = (np.array(part) for part in _axes(hull))
    assert costs[0] == choices.costs.min()
    assert losses[-1] == pytest.approx(choices.losses.min(), rel=1e-9, abs=1e-12 * unit)
    line = np.interp(choices.costs[0], costs, losses)
    assert (choices.losses >= line * (1 - 1e-6) - 1e-9 * losses[0]).all()


@given(seed=SEEDS, states=STATES, unit=st.sampled_from([1.0, 1e-12]), size=UNIT)
def test_the_hull_is_made_of_choices_and_convex(
    seed: int, states: States, unit: float, size: float
):
    problem = scaled(random_problem(seed, states, 1), unit, size)
    hull = coupled_hull(problem)
    for column in hull:
        assert_open(problem, column.picked, column.states)
        assert column.costs == problem.options.costs[:, column.picked].sum(1)
        assert column.loss == problem.options.loss(column.picked)
    costs, losses = _axes(hull)
    assert all(b > a for a, b in pairwise(costs))
    assert all(b < a for a, b in pairwise(losses))
    slopes = np.diff(losses) / np.diff(costs)
    assert all(b >= a - 1e-6 * abs(a) for a, b in pairwise(slopes))


def _axes(hull: list[Column]) -> tuple[list[float], list[float]]:
    return [float(column.costs[0]) for column in hull], [column.loss for column in hull]


@pytest.mark.parametrize("most", [2, 3, 5])
def test_a_hull_has_no_more_vertices_than_asked(most: int):
    problem = random_problem(3, (4, 4), 1)
    whole, part = coupled_hull(problem), coupled_hull(problem, most)
    assert len(part) == most < len(whole)
    assert set(_axes(part)[0]) <= set(_axes(whole)[0])


@settings(max_examples=30)
@given(seed=SEEDS)
def test_without_variables_it_is_the_knapsack(seed: int):
    problem = random_problem(seed, (1,), 1)
    choices, limits = some_limits(problem, seed)
    picked, _ = solve_coupled(problem, limits)
    assert picked is not None
    assert problem.options.loss(picked) == pytest.approx(choices.least(limits), rel=1e-6, abs=1e-9)

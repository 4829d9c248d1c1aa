"""What rows explain of a weight, and descent over it."""

import pytest
import torch

from eckart.linalg.descent import descended
from eckart.linalg.projection import Projection, affordable
from eckart.linalg.whitening import factor
from random_moments import normal, second_moment

A, G = second_moment(1, 12, seed=1)[0], second_moment(1, 5, seed=2)[0]
PROBLEM = Projection(normal(5, 12, seed=0), A, G)


def test_the_share_left_is_the_loss_of_the_best_combination_over_that_of_no_rows():
    rows = normal(3, 12, seed=3)
    nothing = PROBLEM.loss(torch.zeros(5, 3, dtype=torch.float64), rows)
    best = PROBLEM.best(rows).loss
    assert PROBLEM.exact(rows).left == pytest.approx(best / nothing, rel=1e-6)
    assert PROBLEM.quick(rows.float()).left == pytest.approx(best / nothing, rel=1e-3)


@pytest.mark.parametrize("count", [1, 3, 12])
def test_the_best_combination_loses_what_is_measured(count: int):
    rows = normal(count, 12, seed=3)
    best = PROBLEM.best(rows)
    measured, scale = PROBLEM.loss(best.last, rows), PROBLEM.square
    assert best.loss / scale == pytest.approx(measured / scale, rel=1e-9, abs=1e-12)
    nudged = best.last + 1e-3 * normal(5, count, seed=6)
    assert best.loss < PROBLEM.loss(nudged, rows)


def test_equal_rows_have_a_best_combination():
    rows = normal(1, 12, seed=5).expand(3, 12)
    best = PROBLEM.best(rows)
    assert best.loss == pytest.approx(PROBLEM.loss(best.last, rows), rel=1e-9)


def test_the_slope_is_the_derivative_of_the_share_left():
    rows, step = normal(4, 12, seed=2), 1e-6 * normal(4, 12, seed=3)
    slope = PROBLEM.exact(rows).slope
    up, down = (PROBLEM.exact(rows + sign * step).left for sign in (1, -1))
    assert up - down == pytest.approx(2 * float((slope * step).sum()), rel=1e-5)


def test_rows_are_dropped_one_by_one_where_that_costs_least():
    rows, objective = normal(6, 12, seed=4), PROBLEM.exact
    left = list(range(6))
    while len(left) > 3:
        costs = [objective(rows[[i for i in left if i != j]]).left for j in left]
        del left[costs.index(min(costs))]
    at, weights = objective.kept(rows, 3)
    assert at.tolist() == left
    lifted = factor(G).mT @ PROBLEM.best(rows[left]).last
    torch.testing.assert_close(weights / weights[0], lifted.norm(dim=0) / lifted[:, 0].norm())


def test_equal_rows_are_solved():
    row = normal(1, 12, seed=5)
    one, three = (PROBLEM.exact(row.expand(n, 12)) for n in (1, 3))
    assert three.left == pytest.approx(one.left, rel=1e-6)
    assert torch.isfinite(three.slope).all()


def test_descent_finds_the_minimum_of_a_badly_scaled_bowl_and_never_climbs():
    scales = 10.0 ** torch.arange(-2, 3, dtype=torch.float64)
    values = list[float]()

    def bowl(at: torch.Tensor) -> tuple[float, torch.Tensor]:
        values.append(float((scales * (at - 1) ** 2).sum()))
        return values[-1], 2 * scales * (at - 1)

    found = descended(bowl, torch.zeros(5, dtype=torch.float64), 60)
    torch.testing.assert_close(found, torch.ones(5, dtype=torch.float64), rtol=1e-6, atol=1e-6)
    start = values[0]
    for steps in range(3):
        assert bowl(descended(bowl, torch.zeros(5, dtype=torch.float64), steps))[0] <= start


def test_the_wider_the_layer_the_fewer_steps_a_search_takes():
    assert affordable(64, 576, 100) == 100  # a layer of ResNet-20
    assert 3 <= affordable(139, 1152, 100) < 50
    assert affordable(142, 4608, 100) == 0  # of ResNet-18: a step takes a second

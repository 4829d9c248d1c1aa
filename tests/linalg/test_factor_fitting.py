"""Iterations for the weighted problem: they never rise, and end where the closed form is."""

import pytest
import torch

from eckart.errors import EckartWarning
from eckart.linalg import (
    alternating_least_squares,
    gradient_refinement,
    output_projection,
    quadratic_loss,
    weighted_gradients,
)
from random_moments import normal, second_moment

each_solver = pytest.mark.parametrize("solve", [alternating_least_squares, gradient_refinement])


def problem(out: int, inputs: int, rank: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    a, g = second_moment(1, inputs, seed=seed + 1)[0], second_moment(1, out, seed=seed + 2)[0]
    start = normal(out, rank, seed=seed + 3), normal(rank, inputs, seed=seed + 4)
    return normal(out, inputs, seed=seed), a, g, *start


@each_solver
@pytest.mark.parametrize("shape", [(6, 9, 2), (9, 6, 3), (5, 5, 1), (1, 4, 1), (5, 5, 5)], ids=str)
def test_from_random_factors_to_the_global_minimum(solve, shape: tuple[int, int, int]):
    weight, a, g, left, right = problem(*shape)
    fit = solve(weight, a, g, left, right, steps=3000)
    best = output_projection(weight[None], a[None], g[None]).losses
    whole = float(best[0])
    assert fit.losses[-1] == pytest.approx(float(best[shape[2]]), abs=1e-8 * whole)
    measured = quadratic_loss(weight - fit.left @ fit.right, a, g)
    assert measured == pytest.approx(fit.losses[-1], abs=1e-10 * whole)
    losses = torch.tensor(fit.losses, dtype=torch.float64)
    assert (losses.diff() <= 1e-12 * whole).all()
    gradients = weighted_gradients(weight, a, g, fit.left, fit.right)
    first = weighted_gradients(weight, a, g, left, right)
    ratio = [float(a.norm() / b.norm()) for a, b in zip(gradients, first, strict=True)]
    assert max(ratio) < 1e-3


@each_solver
def test_the_optimum_is_left_alone(solve):
    weight, a, g, *_ = problem(6, 8, 3)
    factors = output_projection(weight[None], a[None], g[None])
    left, right = factors.left[0, :, :3], factors.right[0, :3]
    fit = solve(weight, a, g, left, right)
    assert len(fit.losses) == 1
    torch.testing.assert_close(fit.left @ fit.right, left @ right)


@each_solver
def test_stopping_early_warns_and_says_how_far(solve):
    with pytest.warns(EckartWarning, match="stopped after 1 steps at a relative slope"):
        fit = solve(*problem(6, 9, 2), steps=1)
    assert len(fit.losses) == 2
    assert fit.slope > 1e-12


@each_solver
def test_deficient_moments_factors_and_dtypes(solve):
    weight, a, g, left, right = (part.float() for part in problem(5, 6, 3))
    alive = torch.tensor([1.0, 1, 0, 1, 0, 1])
    fit = solve(weight, a * alive * alive[:, None], g, left * 0, right, steps=3000)
    assert fit.left.dtype == torch.float32
    assert torch.isfinite(fit.left @ fit.right).all()
    assert fit.losses[-1] < fit.losses[0]


@each_solver
def test_a_zero_weight_costs_nothing(solve):
    eye = torch.eye(3)
    fit = solve(torch.zeros(3, 3), eye, eye, torch.zeros(3, 1), torch.zeros(1, 3))
    assert fit.losses == (0.0,)

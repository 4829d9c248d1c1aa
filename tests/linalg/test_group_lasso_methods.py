"""The methods to learn from: each as it is stated, and all at one optimum."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eckart.errors import InputError
from eckart.linalg import (
    alpha_max,
    alternating_minimisation,
    fista,
    group_lasso,
    prox,
    proximal_gradient,
)
from lasso_oracle import lasso
from random_moments import normal
from tolerances import tolerance

CLOSE = tolerance(torch.float64)
METHODS = {
    "proximal_gradient": proximal_gradient,
    "fista": fista,
    "fista, q = 10": partial(fista, q=10.0),
    "alternating": alternating_minimisation,
}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@given(t=st.floats(0, 3), seed=st.integers(0, 99))
def test_prox_is_the_minimiser(t: float, seed: int):
    m = normal(3, 5, seed=seed)
    near = prox(m, t)

    def value(x: torch.Tensor) -> float:
        return float(0.5 * (x - m).square().sum() + t * x.norm(dim=0).sum())

    for nudge in range(5):
        assert value(near) <= value(near + 1e-3 * normal(3, 5, seed=nudge)) + 1e-12
    norms = m.norm(dim=0)
    torch.testing.assert_close(near.norm(dim=0), (norms - t).clamp_min(0), **CLOSE)
    assert not near[:, norms <= t].any()


@each_method
@pytest.mark.parametrize("ratio", [0.5, 0.05])
def test_they_end_where_the_solver_does(method, ratio: float):
    problem = lasso(6, 4, seed=4)
    alpha = ratio * alpha_max(problem.gram, problem.cross)
    history = method(problem.gram, problem.cross, alpha)
    best = group_lasso(problem.gram, problem.cross, alpha, tol=1e-13)
    assert history.converged
    assert history.losses[-1] == pytest.approx(best.objective, abs=1e-9 * problem.scale)
    torch.testing.assert_close(history.solution, best.solution, rtol=1e-4, atol=1e-5)
    columns = (history.solution != 0).any(0).nonzero()[:, 0]
    assert torch.equal(columns, best.support)


@each_method
def test_losses_are_those_of_the_objective(method):
    problem = lasso(6, 4, seed=4)
    history = method(problem.gram, problem.cross, 0.3)
    last = problem.objective(history.solution, 0.3)
    assert history.losses[-1] == pytest.approx(last, rel=1e-10)
    assert history.iterations == len(history.losses)


@each_method
def test_at_alpha_max_they_give_exact_zero(method):
    problem = lasso(6, 4, seed=4)
    alpha = 1.0001 * alpha_max(problem.gram, problem.cross)
    solution = method(problem.gram, problem.cross, alpha).solution
    assert torch.equal(solution, torch.zeros_like(solution))


def test_proximal_gradient_never_rises():
    problem = lasso(6, 4, seed=4)
    losses = torch.tensor(proximal_gradient(problem.gram, problem.cross, 0.3).losses)
    assert (losses.diff() <= 1e-12 * problem.scale).all()


def test_alternating_falls_for_fifty_rounds_and_then_hands_over():
    problem = lasso(6, 4, seed=4)
    history = alternating_minimisation(problem.gram, problem.cross, 0.3)
    assert history.iterations > 50
    assert (torch.tensor(history.losses[:50]).diff() <= 1e-9 * problem.scale).all()


def test_rounds_alone_are_off_by_no_more_than_the_smoothing_allows():
    problem, alpha = lasso(6, 4, seed=4), 0.3
    optimum = group_lasso(problem.gram, problem.cross, alpha, tol=1e-13).objective
    solve = partial(alternating_minimisation, problem.gram, problem.cross, alpha, rounds=500)
    off = []
    for smoothing in (1e-2, 1e-4, 1e-6):
        alone = solve(smoothing=smoothing, max_iterations=0)
        assert (alone.solution != 0).all()  # only FISTA sets columns to zero
        off.append(alone.losses[-1] - optimum)
        assert 0 < off[-1] <= alpha * len(problem.gram) * smoothing**0.5
        whole = solve(smoothing=smoothing)
        assert whole.losses[-1] == pytest.approx(optimum, abs=1e-9 * problem.scale)
    assert off == sorted(off, reverse=True)


def test_rounds_start_from_zero():
    problem, alpha = lasso(6, 4, seed=4), 0.3
    first = alternating_minimisation(
        problem.gram, problem.cross, alpha, rounds=1, smoothing=0.04, max_iterations=0
    )
    damped = problem.gram + alpha / 0.2 * torch.eye(len(problem.gram)).double()
    torch.testing.assert_close(first.solution, problem.cross @ damped.inverse(), **CLOSE)
    assert first.iterations == 1


@pytest.mark.parametrize("wrong", [{"rounds": -1}, {"smoothing": 0.0}, {"smoothing": float("nan")}])
def test_rounds_and_smoothing_are_checked(wrong: dict[str, float]):
    problem = lasso(6, 4, seed=4)
    with pytest.raises(InputError, match="expected 0 or more rounds and a smoothing above 0"):
        alternating_minimisation(problem.gram, problem.cross, 0.3, **wrong)


@each_method
@pytest.mark.parametrize("alpha", [0.0, 0.2])
def test_rank_deficient_moments_are_no_obstacle(method, alpha: float):
    problem = lasso(6, 4, seed=4, rank=3)
    history = method(problem.gram, problem.cross, alpha, max_iterations=1000)
    best = group_lasso(problem.gram, problem.cross, alpha)
    assert history.losses[-1] == pytest.approx(best.objective, abs=1e-5 * problem.scale)


def test_a_limit_of_iterations_is_not_convergence():
    problem = lasso(6, 4, seed=4)
    history = fista(problem.gram, problem.cross, 0.01, max_iterations=3)
    assert (history.iterations, history.converged) == (3, False)


def test_a_start_at_the_solution_ends_at_once():
    problem = lasso(6, 4, seed=4)
    exact = group_lasso(problem.gram, problem.cross, 0.3, tol=1e-14).solution
    history = fista(problem.gram, problem.cross, 0.3, start=exact)
    assert history.iterations < 40

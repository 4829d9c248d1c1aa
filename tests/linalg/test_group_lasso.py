"""The group lasso: optimal by its own conditions, by other solvers, and in its limits."""

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eckart.errors import NotConvergedWarning
from eckart.linalg import GroupLassoResult, alpha_max, group_lasso
from lasso_oracle import Lasso, lasso
from random_moments import normal

BLOCKS = [[0, 3], [1], [2, 4, 6], [5, 7]]
RATIOS = (0.9, 0.3, 0.03, 0.001)
each_ratio = pytest.mark.parametrize("ratio", RATIOS)


def solved(problem: Lasso, ratio: float, tol: float = 1e-6) -> GroupLassoResult:
    settings = {"groups": problem.groups, "weights": problem.weights}
    alpha = ratio * alpha_max(problem.gram, problem.cross, **settings)
    return group_lasso(problem.gram, problem.cross, alpha, tol=tol, **settings)


def assert_optimal(problem: Lasso, result: GroupLassoResult) -> None:
    """The gap is honest against a solver of another kind, and zeros are exact."""
    rival = problem.objective(problem.solved(result.alpha), result.alpha)
    objective = problem.objective(result.solution, result.alpha)
    rounding = 1e-12 * problem.scale
    assert result.objective == pytest.approx(objective, rel=1e-9, abs=rounding)
    assert objective - rival <= result.gap * problem.scale + rounding
    for j, group in enumerate(problem.groups):
        assert bool(result.solution[:, list(group)].any()) == (j in result.support.tolist())


@settings(max_examples=25)
@given(
    d=st.integers(1, 9),
    h=st.integers(1, 12),
    missing=st.integers(0, 3),
    ratio=st.floats(1e-3, 0.99),
    seed=st.integers(0, 1000),
)
def test_is_optimal_for_every_shape_and_rank(d: int, h: int, missing: int, ratio: float, seed: int):
    problem = lasso(d, h, seed=seed, rank=max(1, d - missing))
    result = solved(problem, ratio)
    assert result.status == "converged"
    assert result.gap <= 1e-6
    assert_optimal(problem, result)


@each_ratio
@pytest.mark.parametrize("groups", [None, BLOCKS], ids=["columns", "blocks"])
def test_conditions_of_optimality_hold(ratio: float, groups: list[list[int]] | None):
    weights = None if groups is None else torch.tensor([1.0, 0.5, 3.0, 2.0]).double()
    problem = lasso(8, 5, seed=3, groups=groups, weights=weights)
    result = solved(problem, ratio, tol=1e-13)
    assert problem.stationarity(result.solution, result.alpha) < 1e-6
    assert_optimal(problem, result)


@each_ratio
def test_agrees_with_scikit_learn(ratio: float):
    linear_model = pytest.importorskip("sklearn.linear_model")
    problem = lasso(12, 4, seed=5)
    result = solved(problem, ratio, tol=1e-12)
    n = len(problem.gram)
    x = math.sqrt(n) * torch.linalg.cholesky(problem.gram).mT
    y = x @ torch.linalg.solve(problem.gram, problem.cross.mT)
    model = linear_model.MultiTaskLasso(
        result.alpha, fit_intercept=False, tol=1e-12, max_iter=1_000_000
    )
    rival = torch.from_numpy(model.fit(x.numpy(), y.numpy()).coef_.copy())
    torch.testing.assert_close(result.solution, rival, rtol=1e-4, atol=1e-5)
    excess = result.objective - problem.objective(rival, result.alpha)
    assert excess <= result.gap * problem.scale + 1e-12 * problem.scale


def test_a_gap_is_not_below_the_excess_when_stopped_early():
    problem = lasso(20, 6, seed=8)
    alpha = 0.01 * alpha_max(problem.gram, problem.cross)
    optimum = group_lasso(problem.gram, problem.cross, alpha, tol=1e-12).objective
    for steps in range(12):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotConvergedWarning)
            result = group_lasso(problem.gram, problem.cross, alpha, max_iterations=steps)
        assert result.iterations <= steps
        assert result.objective - optimum <= result.gap * problem.scale * (1 + 1e-9)


def test_stopping_early_is_a_status_and_warns():
    problem = lasso(20, 6, seed=8)
    alpha = 0.01 * alpha_max(problem.gram, problem.cross)
    with pytest.warns(NotConvergedWarning, match="gap of"):
        result = group_lasso(problem.gram, problem.cross, alpha, max_iterations=3)
    assert result.status == "iteration limit"
    assert math.isfinite(result.gap)
    assert result.gap > 1e-6


@pytest.mark.parametrize("groups", [None, BLOCKS], ids=["columns", "blocks"])
def test_zero_is_exact_from_alpha_max_on(groups: list[list[int]] | None):
    problem = lasso(8, 5, seed=1, groups=groups)
    for ratio in (1.0, 1.5, 1e9):
        result = solved(problem, ratio)
        assert torch.equal(result.solution, torch.zeros_like(result.solution))
        assert (result.gap, result.objective, len(result.support)) == (0.0, 0.0, 0)
    assert len(solved(problem, 0.999).support) == 1


@pytest.mark.parametrize("rank", [8, 5])
def test_without_penalty_it_is_least_squares(rank: int):
    problem = lasso(8, 5, seed=1, rank=rank)
    result = group_lasso(problem.gram, problem.cross, 0.0)
    assert result.status == "converged"
    assert result.objective == pytest.approx(-problem.scale, rel=1e-9)
    close = {"rtol": 1e-7, "atol": 1e-7}
    torch.testing.assert_close(result.solution @ problem.gram, problem.cross, **close)


@each_ratio
def test_turning_the_rows_turns_the_solution(ratio: float):
    problem = lasso(7, 9, seed=2)
    turn = torch.linalg.qr(normal(9, 9, seed=4))[0]
    turned = Lasso(problem.gram, turn @ problem.cross, problem.groups, problem.weights)
    one, other = solved(problem, ratio, tol=1e-12), solved(turned, ratio, tol=1e-12)
    assert torch.equal(one.support, other.support)
    torch.testing.assert_close(turn @ one.solution, other.solution, rtol=1e-6, atol=1e-7)


@each_ratio
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_units_do_not_matter(ratio: float, scale: float):
    problem = lasso(7, 4, seed=2)
    scaled = Lasso(problem.gram * scale, problem.cross * scale, problem.groups, problem.weights)
    one, other = solved(problem, ratio, tol=1e-12), solved(scaled, ratio, tol=1e-12)
    assert torch.equal(one.support, other.support)
    torch.testing.assert_close(one.solution, other.solution, rtol=1e-6, atol=1e-7)


@each_ratio
def test_duplicate_zero_and_constant_columns_are_normal(ratio: float):
    rows = normal(8, 30, seed=6)
    rows[3] = rows[0]
    rows[4] = 0
    rows[5] = rows[6] = 1
    gram = rows @ rows.mT / 30
    weight = normal(5, 8, seed=7)
    problem = Lasso(gram, weight @ gram, [[j] for j in range(8)], torch.ones(8).double())
    result = solved(problem, ratio)
    assert result.status == "converged"
    assert not result.solution[:, 4].any()
    assert_optimal(problem, result)


@pytest.mark.parametrize("alpha", [0.0, 1e-3, 1.0])
@pytest.mark.parametrize("gram", [torch.eye(3).double(), torch.zeros(3, 3).double()], ids=str)
def test_nothing_to_explain_gives_zero(alpha: float, gram: Tensor):
    result = group_lasso(gram, torch.zeros(2, 3).double(), alpha)
    assert torch.equal(result.solution, torch.zeros(2, 3).double())
    assert result.status == "converged"


def test_cross_outside_the_range_by_noise_is_certified():
    problem = lasso(10, 4, seed=9, rank=6)
    noisy = problem.cross * (1 + 1e-7 * normal(4, 10, seed=10))
    alpha = 0.1 * alpha_max(problem.gram, noisy)
    result = group_lasso(problem.gram, noisy, alpha)
    assert result.gap <= 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_work_is_in_float64(dtype: torch.dtype):
    problem = lasso(5, 3, seed=0)
    gram = torch.diag(problem.gram.diagonal()).to(dtype)
    result = group_lasso(gram, problem.cross.to(dtype), 0.1)
    assert result.solution.dtype == torch.float64


@each_ratio
def test_a_start_changes_the_way_not_the_end(ratio: float):
    problem = lasso(12, 4, seed=5)
    cold = solved(problem, ratio, tol=1e-12)
    for other in (solved(problem, 0.9 * ratio), solved(problem, min(0.99, 3 * ratio))):
        warm = group_lasso(problem.gram, problem.cross, cold.alpha, start=other.solution, tol=1e-12)
        torch.testing.assert_close(warm.solution, cold.solution, rtol=1e-6, atol=1e-7)

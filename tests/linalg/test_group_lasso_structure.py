"""The group lasso with free columns and with several consumers, against one stacked problem."""

import pytest
import torch
from torch import Tensor

from eckart.linalg import alpha_max, debias, group_lasso
from lasso_oracle import Lasso, lasso
from random_moments import normal

RATIOS = (0.9, 0.2, 0.01)
each_ratio = pytest.mark.parametrize("ratio", RATIOS)


def with_bias(d: int, h: int, seed: int) -> tuple[Tensor, Tensor]:
    """Moments of inputs with large means and a last column of ones."""
    rows = torch.cat([normal(d, 40, seed=seed) + 3, torch.ones(1, 40).double()])
    targets = normal(h, d + 1, seed=seed + 1) @ rows + normal(h, 40, seed=seed + 2)
    return rows @ rows.mT / 40, targets @ rows.mT / 40


@each_ratio
@pytest.mark.parametrize("free", [[6], [6, 0]], ids=str)
def test_unpenalised_columns_are_solved_exactly(ratio: float, free: list[int]):
    gram, cross = with_bias(6, 4, seed=1)
    rest = [[j] for j in range(7) if j not in free]
    problem = Lasso(gram, cross, rest, torch.ones(len(rest)).double())
    alpha = ratio * alpha_max(gram, cross, unpenalised=free)
    result = group_lasso(gram, cross, alpha, unpenalised=free, tol=1e-12)
    assert problem.stationarity(result.solution, alpha) < 1e-6
    assert result.objective == pytest.approx(problem.objective(result.solution, alpha), rel=1e-9)
    named = group_lasso(gram, cross, alpha, unpenalised=free, groups=rest, tol=1e-12)
    torch.testing.assert_close(named.solution, result.solution)


def test_only_free_columns_are_left_at_alpha_max():
    gram, cross = with_bias(6, 4, seed=1)
    alpha = alpha_max(gram, cross, unpenalised=[6])
    solution = group_lasso(gram, cross, alpha, unpenalised=[6]).solution
    assert not solution[:, :6].any()
    torch.testing.assert_close(solution[:, 6], cross[:, 6])
    assert group_lasso(gram, cross, 0.99 * alpha, unpenalised=[6]).solution[:, :6].any()


def test_everything_may_be_free():
    gram, cross = with_bias(3, 2, seed=1)
    result = group_lasso(gram, cross, 1.0, unpenalised=[0, 1, 2, 3])
    torch.testing.assert_close(result.solution @ gram, cross)
    assert result.status == "converged"


def test_constant_columns_beside_the_bias_are_not_needed():
    gram, cross = with_bias(4, 2, seed=1)
    take = [0, 1, 2, 3, 4, 4]
    gram, cross = gram[take][:, take], cross[:, take]
    result = group_lasso(gram, cross, 0.01, unpenalised=[5])
    assert 4 not in result.support.tolist()
    assert result.status == "converged"


@each_ratio
def test_several_consumers_are_one_stacked_problem(ratio: float):
    one, two = lasso(6, 3, seed=1), lasso(4, 5, seed=2, rank=3)
    first, second = [[0, 1], [2], [3, 4, 5], []], [[3], [], [0], [1, 2]]
    stacked = Lasso(
        torch.block_diag(one.gram, two.gram),
        torch.block_diag(one.cross, two.cross),
        [a + [6 + c for c in b] for a, b in zip(first, second, strict=True)],
        torch.tensor([1.0, 2.0, 1.5, 0.7]).double(),
    )
    grams, crosses = [one.gram, two.gram], [one.cross, two.cross]
    given = {"groups": [first, second], "weights": stacked.weights}
    alpha = ratio * alpha_max(grams, crosses, **given)
    result = group_lasso(grams, crosses, alpha, tol=1e-12, **given)
    whole = torch.block_diag(*result.solutions)
    assert stacked.stationarity(whole, alpha) < 1e-6
    rival = stacked.objective(stacked.solved(alpha), alpha)
    assert result.objective <= rival + (result.gap + 1e-12) * stacked.scale
    single = group_lasso(
        stacked.gram,
        stacked.cross,
        alpha,
        groups=stacked.groups,
        weights=stacked.weights,
        tol=1e-12,
    )
    torch.testing.assert_close(whole, single.solution, rtol=1e-6, atol=1e-7)


def test_consumers_without_named_groups_share_columns():
    one, two = lasso(4, 3, seed=1), lasso(4, 5, seed=2)
    grams, crosses = [one.gram, two.gram], [one.cross, two.cross]
    columns = [[[j] for j in range(4)]] * 2
    default = group_lasso(grams, crosses, 0.5)
    named = group_lasso(grams, crosses, 0.5, groups=columns)
    for left, right in zip(default.solutions, named.solutions, strict=True):
        torch.testing.assert_close(left, right)


@each_ratio
def test_debiasing_is_never_worse_and_keeps_the_support(ratio: float):
    for seed in range(8):
        problem = lasso(9, 12 if seed % 2 else 4, seed=seed, rank=9 - seed % 4)
        alpha = ratio * alpha_max(problem.gram, problem.cross)
        before = group_lasso(problem.gram, problem.cross, alpha)
        (after,) = debias(problem.gram, problem.cross, before.solution)
        assert problem.smooth(after) <= problem.smooth(before.solution)
        assert not after[:, ~(before.solution != 0).any(0)].any()
        columns = before.support
        residual = (problem.cross - after @ problem.gram)[:, columns]
        assert residual.norm() <= 1e-4 * problem.cross.norm()


def test_debiasing_least_squares_changes_nothing():
    problem = lasso(5, 3, seed=0)
    exact = torch.linalg.solve(problem.gram, problem.cross, left=False)
    (after,) = debias(problem.gram, problem.cross, exact)
    torch.testing.assert_close(after, exact, rtol=1e-7, atol=1e-8)
    assert problem.smooth(after) <= problem.smooth(exact) + 1e-12 * problem.scale


def test_debiasing_refits_the_bias_and_each_consumer():
    gram, cross = with_bias(5, 3, seed=4)
    groups = [[[0, 1], [2], [3, 4]]] * 2
    free = [[5], [5]]
    result = group_lasso([gram] * 2, [cross, -cross], 1.0, groups=groups, unpenalised=free)
    parts = debias([gram] * 2, [cross, -cross], result.solutions, groups=groups, unpenalised=free)
    torch.testing.assert_close(parts[0], -parts[1])
    residual = cross - parts[0] @ gram
    assert residual[:, 5].abs().max() < 1e-9


@each_ratio
def test_moments_summed_in_single_precision_are_good_enough(ratio: float):
    """Rounding makes the reduced Gram matrix indefinite; the bound still holds."""
    rows = torch.cat([normal(20, 12, seed=3).relu() + 3, torch.ones(1, 12).double()]).float()
    targets = normal(5, 21, seed=4).float() @ rows
    gram, cross = (rows @ rows.mT / 12).double(), (targets @ rows.mT / 12).double()
    alpha = ratio * alpha_max(gram, cross, unpenalised=[20])
    assert group_lasso(gram, cross, alpha, unpenalised=[20]).gap <= 1e-6

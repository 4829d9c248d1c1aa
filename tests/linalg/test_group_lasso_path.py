"""Paths of the group lasso: every point is the solution at its penalty or of its size."""

import pytest
import torch

from eckart.errors import InputError
from eckart.linalg import alpha_max, group_lasso, group_lasso_path
from lasso_oracle import lasso

BLOCKS = [[0, 3], [1], [2, 4, 6], [5, 7], [8, 9], [10, 11]]


def test_the_default_path_is_log_spaced_from_alpha_max():
    problem = lasso(6, 3, seed=0)
    path = group_lasso_path(problem.gram, problem.cross, n_alphas=5, alpha_min_ratio=1e-4)
    top = alpha_max(problem.gram, problem.cross)
    expected = [top * 10.0**-k for k in range(5)]
    assert path.alphas == pytest.approx(expected)
    assert len(path.results[0].support) == 0
    assert path.jumped == ()


@pytest.mark.parametrize("groups", [None, BLOCKS], ids=["columns", "blocks"])
def test_a_path_equals_single_solves(groups: list[list[int]] | None):
    problem = lasso(12, 5, seed=1, rank=10)
    settings = {"groups": groups, "tol": 1e-12}
    path = group_lasso_path(problem.gram, problem.cross, n_alphas=12, **settings)
    for alpha, result in zip(path.alphas, path.results, strict=True):
        alone = group_lasso(problem.gram, problem.cross, alpha, **settings)
        assert result.gap <= 1e-12
        assert result.objective == pytest.approx(alone.objective, rel=1e-11, abs=1e-11)
        fits = result.solution @ problem.gram, alone.solution @ problem.gram
        torch.testing.assert_close(*fits, rtol=1e-5, atol=1e-5)


def test_penalties_come_back_in_the_order_they_were_given():
    problem = lasso(6, 3, seed=0)
    alphas = [0.1, 1e9, 0.5, 0.0, 0.1]
    path = group_lasso_path(problem.gram, problem.cross, alphas=alphas)
    assert path.alphas == tuple(alphas)
    assert [len(r.support) for r in path.results][1] == 0
    assert path.results[0] is path.results[4]


@pytest.mark.parametrize("seed", range(4))
def test_every_size_is_found(seed: int):
    problem = lasso(15, 4, seed=seed)
    sizes = [7, 0, 3, 12, 15, 1]
    path = group_lasso_path(problem.gram, problem.cross, sizes=sizes)
    assert path.sizes == tuple(sizes)
    for size, result in zip(sizes, path.results, strict=True):
        assert result.gap <= 1e-6
        if size not in path.jumped:
            assert len(result.support) == size
    assert len(path.jumped) <= 1


def test_a_size_that_is_jumped_over_gets_the_next_smaller_support():
    cross = torch.tensor(
        [[3.0, 2.0, 0.0, 1.0], [0.0, 0.0, 2.0, 0.0]]
    ).double()  # 1, 2 enter at once
    path = group_lasso_path(torch.eye(4).double(), cross, sizes=range(5))
    assert [len(result.support) for result in path.results] == [0, 1, 1, 3, 4]
    assert path.jumped == (2,)


def test_a_size_out_of_reach_gets_all_that_is_needed():
    problem = lasso(5, 2, seed=3)
    cross = problem.cross.clone()
    gram = torch.block_diag(problem.gram, torch.zeros(2, 2).double())  # two dead columns
    cross = torch.cat([cross, torch.zeros(2, 2).double()], 1)
    path = group_lasso_path(gram, cross, sizes=[5, 7])
    assert [len(result.support) for result in path.results] == [5, 5]
    assert path.jumped == (7,)


def test_nothing_to_explain_has_a_path_of_zeros():
    path = group_lasso_path(torch.eye(3).double(), torch.zeros(2, 3).double(), sizes=[0, 2])
    assert [len(result.support) for result in path.results] == [0, 0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"alphas": [1.0], "sizes": [1]},
        {"sizes": [-1]},
        {"sizes": [4]},
        {"n_alphas": 0},
        {"alpha_min_ratio": 0.0},
        {"alpha_min_ratio": 2.0},
        {"alphas": [-1.0]},
    ],
    ids=str,
)
def test_arguments_that_make_no_path_are_refused(wrong: dict):
    problem = lasso(3, 2, seed=0)
    with pytest.raises(InputError):
        group_lasso_path(problem.gram, problem.cross, **wrong)

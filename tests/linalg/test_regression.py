"""Least squares from sums: against rows, rivals, and the projection that it contains."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from eckart.linalg import least_squares, output_projection, reduced_rank_regression
from random_moments import normal, second_moment
from tolerances import tolerance

CLOSE = tolerance(torch.float64)


def sums(rows: int, inputs: int, outputs: int, seed: int = 0):
    x, t = normal(rows, inputs, seed=seed), normal(rows, outputs, seed=seed + 1)
    return x, t, (x.T @ x / rows)[None], (t.T @ x / rows)[None]


def loss(matrix, x, t, g) -> float:
    errors = t - x @ matrix[0].T
    return float(0.5 * ((errors @ g[0]) * errors).sum() / len(x))


def test_regression_is_what_least_squares_on_the_rows_gives():
    x, t, gram, cross = sums(50, 7, 4)
    wanted = torch.linalg.lstsq(x, t).solution.T[None]
    torch.testing.assert_close(least_squares(cross, gram), wanted, **CLOSE)


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 5), st.integers(0, 99))
def test_no_rival_of_the_rank_beats_the_closed_form(
    outputs: int, inputs: int, rank: int, seed: int
):
    rank = min(rank, outputs, inputs)
    x, t, gram, cross = sums(30, inputs, outputs, seed)
    g = second_moment(1, outputs, seed=seed + 2)
    left, right = reduced_rank_regression(cross, gram, g, rank)
    best = loss(left @ right, x, t, g)
    for i in range(8):
        size = 10.0 ** -(i % 4)
        a = left + size * normal(*left.shape, seed=seed + 3 + i)
        b = right + size * normal(*right.shape, seed=seed + 50 + i)
        assert loss(a @ b, x, t, g) >= best * (1 - 1e-9)


def test_full_rank_is_plain_least_squares_whatever_the_metric():
    _, _, gram, cross = sums(50, 7, 4)
    left, right = reduced_rank_regression(cross, gram, second_moment(1, 4, seed=5), 4)
    torch.testing.assert_close(left @ right, least_squares(cross, gram), rtol=1e-6, atol=1e-8)


def test_targets_that_are_the_layers_own_outputs_give_the_output_projection():
    weight, a = normal(2, 5, 6, seed=0), second_moment(2, 6, seed=1)
    g = second_moment(2, 5, seed=2)
    left, right = reduced_rank_regression(weight @ a, a, g, 3)
    factors = output_projection(weight, a, g)
    wanted = factors.left[..., :3] @ factors.right[:, :3]
    torch.testing.assert_close(left @ right, wanted, rtol=1e-6, atol=1e-7)

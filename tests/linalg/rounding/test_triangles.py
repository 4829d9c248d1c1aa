"""Triangles of second moments: exact, ordered, and found for moments that Cholesky refuses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eckart.errors import NonFiniteError
from eckart.linalg import damped
from eckart.linalg.rounding import Triangle, triangle
from random_moments import normal, second_moment
from tolerances import tolerance

CLOSE = tolerance(torch.float64)


def multiplied(found: Triangle) -> torch.Tensor:
    """The moment again, in the order of its variables."""
    ordered = found.lower * found.diagonal[..., None, :] @ found.lower.mT
    back = found.order.argsort(-1)
    rows = ordered.gather(-2, back[..., :, None].expand_as(ordered))
    return rows.gather(-1, back[..., None, :].expand_as(ordered))


@given(n=st.integers(1, 80), rank=st.integers(1, 80), seed=st.integers(0, 9))
@settings(max_examples=25)
def test_the_product_is_the_moment(n: int, rank: int, seed: int):
    moment = second_moment(2, n, seed=seed, rank=rank)
    for ordered in (True, False):
        found = triangle(moment, ordered=ordered)
        torch.testing.assert_close(multiplied(found), moment, **CLOSE)
        assert torch.equal(found.lower.diagonal(dim1=1, dim2=2), torch.ones(2, n).double())
        assert not found.lower.triu(1).any()
        assert torch.equal(found.order.sort(1).values, torch.arange(n).expand(2, n))


@given(n=st.integers(2, 70), seed=st.integers(0, 9))
@settings(max_examples=20)
def test_each_next_variable_is_the_one_that_is_explained_best(n: int, seed: int):
    moment = second_moment(1, n, seed=seed)[0]
    order = triangle(moment).order
    for place in (0, 1, n // 2, n - 1):
        known, left = order[:place], order[place:]
        onto = torch.linalg.solve(moment[known][:, known], moment[known][:, left])
        variance = (moment[left][:, left] - moment[left][:, known] @ onto).diagonal()
        assert variance[0] <= 1.000001 * variance.min()


def test_the_order_lowers_what_rounding_costs():
    rows = normal(40, 60, seed=0) * torch.logspace(0, -2, 40).double()[:, None]
    moment = damped((rows @ rows.mT)[None], 1e-2)[0]  # largest first: the worst order
    least, given = (triangle(moment, ordered=by).diagonal.sum() for by in (True, False))
    assert least < 0.7 * given


@given(n=st.integers(1, 20), seed=st.integers(0, 9))
@settings(max_examples=25)
def test_costs_and_echoes_are_in_the_order_of_the_variables(n: int, seed: int):
    found = triangle(second_moment(2, n, seed=seed))
    for group in range(2):
        order = found.order[group]
        assert torch.equal(found.costs[group][order], found.diagonal[group])
        squares = torch.linalg.inv(found.lower[group]).square()
        torch.testing.assert_close(found.echoes[group][order][:, order], squares, **CLOSE)
        torch.testing.assert_close(found.heard[group][order], squares.sum(0), **CLOSE)


@pytest.mark.parametrize("damping", [1e-12, 1e-6, 1e-2])
def test_moments_of_few_directions_are_factored(damping: float):
    rows = normal(1, 60, 3, seed=1)
    moment = damped(rows @ rows.mT, damping)
    found = triangle(moment)
    assert (found.diagonal > 0).all()
    torch.testing.assert_close(multiplied(found), moment, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rank", [0, 1, 4])
def test_moments_without_damping_are_factored(rank: int):
    """Cholesky fails on them."""
    rows = normal(2, 8, rank, seed=2)
    moment = rows @ rows.mT - 1e-14 * torch.eye(8)
    found = triangle(moment)
    assert torch.isfinite(found.lower).all()
    assert torch.equal(found.order.sort(1).values, torch.arange(8).expand(2, 8))
    assert (found.diagonal > 0).all()
    torch.testing.assert_close(multiplied(found), moment, rtol=1e-9, atol=1e-9)


def test_a_diagonal_moment_passes_nothing_on():
    assert triangle(torch.eye(5) * 3).is_diagonal
    assert not triangle(second_moment(1, 5, seed=3)).is_diagonal


def test_nan_is_refused():
    with pytest.raises(NonFiniteError):
        triangle(torch.full((2, 2), torch.nan))

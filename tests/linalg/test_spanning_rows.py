"""Rows that span the others: exact, bounded, and so many numbers fewer."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from eckart.errors import InputError, NonFiniteError
from eckart.linalg import SpanningRows, spanning_rows
from random_moments import normal
from tolerances import tolerance

CLOSE = tolerance(torch.float64)


def whole(found: SpanningRows) -> Tensor:
    return torch.cat([found.rows, found.rest @ found.rows])[found.order]


@given(out=st.integers(2, 12), inputs=st.integers(1, 12), seed=st.integers(0, 99), data=st.data())
def test_the_matrix_comes_back(out: int, inputs: int, seed: int, data: st.DataObject):
    rank = data.draw(st.integers(1, out - 1))
    left, right = normal(out, rank, seed=seed), normal(rank, inputs, seed=seed + 1)
    found = spanning_rows(left, right)
    matrix = left @ right
    torch.testing.assert_close(whole(found), matrix, **CLOSE)
    assert torch.equal(found.order.sort().values, torch.arange(out))
    kept = [int((found.order == place).nonzero()) for place in range(rank)]
    torch.testing.assert_close(found.rows, matrix[kept], **CLOSE)


@pytest.mark.parametrize("rank", [1, 20, 39])
def test_no_coefficient_is_large(rank: int):
    scales = torch.logspace(0, -12, rank, dtype=torch.float64)
    left, right = normal(40, rank, seed=rank) * scales, normal(rank, 30, seed=1)
    found = spanning_rows(left, right)
    assert found.rest.abs().max() <= 2
    torch.testing.assert_close(whole(found), left @ right, **CLOSE)


def test_a_matrix_that_makes_partial_pivoting_grow():
    """Wilkinson's: without exchanges a coefficient is 2 to the rank."""
    n = 12
    left = torch.eye(n, dtype=torch.float64) - torch.ones(n, n, dtype=torch.float64).tril(-1)
    left = torch.cat([left, -torch.ones(1, n, dtype=torch.float64)])
    found = spanning_rows(left, torch.eye(n, dtype=torch.float64))
    assert found.rest.abs().max() <= 2
    torch.testing.assert_close(whole(found), left, **CLOSE)


@pytest.mark.parametrize("columns", [0, 1, 2])
def test_factors_of_a_lower_rank(columns: int):
    left, right = normal(7, 4, seed=0), normal(4, 5, seed=1)
    left[:, columns:] = 0
    torch.testing.assert_close(whole(spanning_rows(left, right)), left @ right, **CLOSE)


@pytest.mark.parametrize(
    ("left", "right", "error"),
    [
        (torch.ones(3, 3), torch.ones(3, 3), InputError),
        (torch.full((3, 2), float("nan")), torch.ones(2, 3), NonFiniteError),
    ],
)
def test_what_cannot_be_rewritten(left: Tensor, right: Tensor, error: type[Exception]):
    with pytest.raises(error):
        spanning_rows(left.double(), right.double())

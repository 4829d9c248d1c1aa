"""Damping and roots of second moments, down to none at all."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eckart.linalg import damped, factor, quadratic_loss, roots, whitening
from eckart.linalg.whitening import symmetric
from random_moments import normal, second_moment
from tolerances import tolerance

CLOSE = tolerance(torch.float64)


@given(n=st.integers(1, 6), rank=st.integers(0, 6), scale=st.sampled_from([1e-12, 1.0, 1e12]))
def test_damping_adds_its_multiple_of_the_mean_diagonal(n: int, rank: int, scale: float):
    rows = normal(2, n, rank, seed=0) * scale**0.5
    gram = rows @ rows.mT
    ridge = 1e-3 * gram.diagonal(dim1=1, dim2=2).mean(-1)[:, None, None] * torch.eye(n)
    torch.testing.assert_close((damped(gram, 1e-3) - gram) / scale, ridge / scale, **CLOSE)


def test_damping_is_no_less_than_the_noise():
    gram = torch.ones(1, 40, 40, dtype=torch.float64)  # its norm is 40 times its mean diagonal
    ridge = damped(gram, 1e-6, noise=1e-3) - gram
    torch.testing.assert_close(ridge[0], 0.04 * torch.eye(40, dtype=torch.float64), **CLOSE)


def test_damping_makes_symmetric():
    skewed = normal(3, 4, 4, seed=1)
    result = damped(skewed @ skewed.mT + 1e-3 * skewed, 0.1)
    assert torch.equal(result, result.mT)


@pytest.mark.parametrize("n", [7, 12, 13])
def test_tiles_make_symmetric_too(n: int, monkeypatch: pytest.MonkeyPatch):
    """Where four tiles or more fit into a side, with a last one that is smaller."""
    monkeypatch.setattr(whitening, "_TILE", 3)
    skewed = normal(2, n, n, seed=1)
    assert torch.equal(symmetric(skewed), (skewed + skewed.mT) / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_all_zero_moment_becomes_a_minute_identity(dtype: torch.dtype):
    result = damped(torch.zeros(2, 3, 3, dtype=dtype), 1e-6)
    assert result.dtype == torch.float64
    ridge = result[0, 0, 0]
    assert 0 < ridge < 1e-20
    assert torch.equal(result, ridge * torch.eye(3, dtype=torch.float64).expand(2, 3, 3))
    for root in (*roots(result), factor(result)):
        assert torch.isfinite(root).all()


@given(n=st.integers(1, 8), rank=st.integers(1, 8))
def test_roots_multiply_to_the_moment_and_to_the_identity(n: int, rank: int):
    gram = second_moment(2, n, seed=2, rank=rank)
    root, inverse = roots(gram)
    torch.testing.assert_close(root @ root, gram, **CLOSE)
    eye = torch.eye(n, dtype=torch.float64).expand(2, n, n)
    torch.testing.assert_close(root @ inverse, eye, rtol=0, atol=1e-7)
    assert torch.equal(root.isfinite(), torch.ones_like(root, dtype=torch.bool))


@pytest.mark.parametrize("rank", [0, 1, 3, 5])
def test_factor_squares_to_the_moment_even_when_it_is_singular(rank: int):
    rows = normal(2, 5, rank, seed=3)
    gram = rows @ rows.mT  # undamped
    lower = factor(gram)
    torch.testing.assert_close(lower @ lower.mT, gram, rtol=1e-9, atol=1e-9)


def test_quadratic_loss_is_half_the_mean_squared_output_change():
    change, x, v = normal(1, 3, 4, seed=4), normal(4, 50, seed=5), normal(3, 6, seed=6)
    moved = v.T @ change[0] @ x
    loss = quadratic_loss(change, (x @ x.T)[None], (v @ v.T)[None])
    assert loss == pytest.approx(0.5 * float(moved.square().sum()), rel=1e-12)

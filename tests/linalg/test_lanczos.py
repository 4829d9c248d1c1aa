"""The largest eigenvalue between its bounds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eckart.errors import InputError
from eckart.linalg import largest_eigenvalue
from random_moments import normal, second_moment, seeded


def assert_enclosed(A: torch.Tensor, tolerance: float) -> int:
    found = largest_eigenvalue(A, tolerance=tolerance, generator=seeded(0))
    values = torch.linalg.eigvalsh(A.double())
    norm = float(values.abs().max())
    rounding = 1e-13 * max(norm, 1e-300)
    assert found.lower - rounding <= float(values[-1]) <= found.upper + rounding
    assert found.upper - found.lower <= 1.1 * tolerance * norm + rounding
    x = found.vector
    assert float(x.norm()) == pytest.approx(1)
    assert float(x @ A.double() @ x) == pytest.approx(found.lower, abs=1e-9 * max(norm, 1e-300))
    return found.products


@pytest.mark.parametrize("n", [1, 2, 3, 60, 200])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-10])
def test_second_moments(n: int, tolerance: float):
    assert_enclosed(second_moment(1, n, seed=0)[0], tolerance)


@given(n=st.integers(1, 12), seed=st.integers(0, 99), shift=st.sampled_from([-9.0, 0.0, 9.0]))
def test_indefinite_and_negative(n: int, seed: int, shift: float):
    A = normal(n, n, seed=seed)
    assert_enclosed(A + A.mT + shift * torch.eye(n), 1e-6)


@pytest.mark.parametrize(
    "A",
    [
        torch.zeros(4, 4),
        torch.eye(5),
        -torch.eye(5),
        torch.ones(6, 6),
        torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.999999])),
        1e-30 * torch.diag(torch.arange(4.0)),
        1e30 * torch.diag(torch.arange(4.0)),
    ],
    ids=["zero", "one", "minus one", "rank one", "cluster", "minute", "huge"],
)
def test_odd_spectra(A: torch.Tensor):
    assert_enclosed(A, 1e-6)


def test_far_fewer_products_than_dimensions():
    A = second_moment(1, 400, seed=0)[0]
    assert assert_enclosed(A, 1e-6) < 60


def test_bad_input():
    with pytest.raises(InputError, match="not symmetric"):
        largest_eigenvalue(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
    with pytest.raises(InputError, match="square"):
        largest_eigenvalue(torch.ones(2, 3))
    with pytest.raises(InputError, match="tolerance"):
        largest_eigenvalue(torch.eye(2), tolerance=0.0)

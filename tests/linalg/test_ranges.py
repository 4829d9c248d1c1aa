"""Bases for the range, fixed and adaptive, and the bounds that go with them."""

import pytest
import torch

from eckart.linalg import adaptive_range, range_error_bound, range_finder, subspace_iteration
from spectra import assert_orthonormal_rows, low_rank, power_law, seeded


@pytest.mark.parametrize("shape", [(50, 30), (30, 50)], ids=str)
def test_the_range_of_a_low_rank_matrix_is_found_in_one_product(shape: tuple[int, int]):
    matrix = low_rank(*shape, 4, 0.0)
    Q = range_finder(matrix, 6, generator=seeded(0))
    assert Q.shape == (shape[0], 6)
    assert_orthonormal_rows(Q.mT)
    torch.testing.assert_close(Q @ (Q.mT @ matrix), matrix, rtol=1e-8, atol=1e-8)


def test_iterations_turn_the_basis_to_the_leading_vectors():
    matrix = power_law(80, 60, 1.0)
    best = torch.linalg.svdvals(matrix)[10:].norm()
    errors = [
        float((matrix - Q @ (Q.mT @ matrix)).norm() / best)
        for Q in (subspace_iteration(matrix, 10, q, generator=seeded(1)) for q in (0, 2, 30))
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1.001


def test_float32_iterations_keep_what_powers_without_orthonormalisation_lose():
    values = torch.logspace(0, -4, 20, dtype=torch.float64)
    matrix = torch.diag(values).float()
    Q = subspace_iteration(matrix, 18, 3, generator=seeded(2))
    rest = (matrix - Q @ (Q.mT @ matrix)).norm()
    assert float(rest) < 2 * float(values[18:].norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tolerance", [0.5, 0.1, 1e-3, 1e-5])
def test_the_adaptive_range_meets_its_tolerance(tolerance: float, dtype: torch.dtype):
    matrix = power_law(150, 120, 2.0).to(dtype)
    found = adaptive_range(matrix, tolerance, block=5, generator=seeded(3))
    Q, exact = found.basis.double(), matrix.double()
    assert_orthonormal_rows(Q.mT)
    error = float((exact - Q @ (Q.mT @ exact)).norm() / exact.norm())
    assert error <= tolerance * 1.01
    assert found.error == pytest.approx(error, rel=0.05, abs=1e-6)
    squares = torch.linalg.svdvals(exact).square()
    tails = (squares.flip(0).cumsum(0).flip(0) / squares.sum()).sqrt()
    least = int((tails > tolerance).sum())
    assert least <= Q.shape[1] <= 1.1 * least + 5  # a block
    residual = torch.linalg.matrix_norm(exact - Q @ (Q.mT @ exact), 2)
    assert float(residual) <= found.spectral_bound


def test_the_adaptive_range_stops_at_its_size_and_says_what_it_reached():
    found = adaptive_range(power_law(60, 50, 0.5), 1e-3, block=4, max_size=10)
    assert found.basis.shape == (60, 10)
    assert found.error > 1e-3


def test_the_adaptive_range_of_zero_and_of_one_column():
    assert adaptive_range(torch.zeros(5, 4), 0.1).error == 0
    assert adaptive_range(torch.ones(5, 1), 0.1).basis.shape == (5, 1)


def test_the_bound_holds_and_is_not_far():
    matrix = power_law(90, 70, 1.0)
    Q = range_finder(matrix, 12, generator=seeded(4))
    residual = float(torch.linalg.matrix_norm(matrix - Q @ (Q.mT @ matrix), 2))
    for seed in range(20):
        bound = range_error_bound(matrix, Q, generator=seeded(seed))
        assert residual <= bound <= 100 * residual

"""Randomised decompositions against the exact one: the error, the vectors, the odd matrices."""

import pytest
import torch
from torch import Tensor

from eckart.linalg import randomized_svd
from eckart.linalg.randomised import krylov
from eckart.linalg.randomised import svd as randomized
from eckart.linalg.randomised.gram_svd import full_svd
from spectra import assert_orthonormal_rows, low_rank, power_law, seeded, with_values

each_way = pytest.mark.parametrize("iterations", [None, 0, 2])
SHAPES = [(60, 40), (40, 60), (300, 40), (1, 9), (9, 1), (1, 1), (220, 260), (500, 230)]


def excess(matrix: Tensor, rank: int, triple: tuple[Tensor, ...]) -> float:
    """Frobenius error over the least possible, both in float64."""
    U, S, Vh = (part.double() for part in triple[:3])
    best = torch.linalg.svdvals(matrix.double())[rank:].norm()
    return float((matrix.double() - U * S @ Vh).norm() / best)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("shape", [(600, 600), (500, 900), (900, 500)], ids=str)
def test_the_default_is_within_two_percent_of_the_optimum(shape: tuple[int, int], exponent: float):
    matrix = power_law(*shape, exponent).float()
    found = randomized_svd(matrix, 60, generator=seeded(0))
    assert 1 - 1e-4 <= excess(matrix, 60, found) <= 1.02


def test_more_power_iterations_are_nearer_to_the_optimum():
    matrix = power_law(400, 300, 1.0).float()
    errors = [
        excess(matrix, 30, randomized_svd(matrix, 30, power_iterations=q, generator=seeded(1)))
        for q in (0, 1, 3)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1.01


@each_way
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_orthonormality(shape: tuple[int, int], iterations: int | None, dtype):
    matrix = low_rank(*shape, 3, 0.1).to(dtype)
    for rank in {1, (min(shape) + 1) // 2, min(shape)}:
        U, S, Vh, Q = randomized_svd(
            matrix, rank, power_iterations=iterations, return_range=True, generator=seeded(2)
        )
        assert (U.shape, S.shape, Vh.shape) == ((shape[0], rank), (rank,), (rank, shape[1]))
        assert (S[:-1] >= S[1:]).all()
        assert U.dtype == S.dtype == Vh.dtype == Q.dtype == dtype
        for rows in (U.mT, Vh, Q.mT):
            assert_orthonormal_rows(rows)
        torch.testing.assert_close(Q @ (Q.mT @ U), U, rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (300, 280), (1, 5)], ids=str)
def test_the_singular_values_are_those_of_the_exact_decomposition(shape: tuple[int, int]):
    matrix = low_rank(*shape, 4, 0.0).float()
    rank = min(4, *shape)
    S = randomized_svd(matrix, rank, generator=seeded(0))[1]
    exact = torch.linalg.svdvals(matrix.double())[:rank]
    torch.testing.assert_close(S.double(), exact, rtol=1e-5, atol=0)


@each_way
@pytest.mark.parametrize("shape", [(40, 30), (260, 250), (250, 300)], ids=str)
def test_less_rank_than_asked_for_is_completed(shape: tuple[int, int], iterations: int | None):
    matrix = low_rank(*shape, 3, 0.0).float()
    U, S, Vh = randomized_svd(matrix, 20, power_iterations=iterations, generator=seeded(3))
    torch.testing.assert_close(U * S @ Vh, matrix, rtol=1e-4, atol=1e-4)
    assert float(S[3:].max()) < 1e-5 * float(S[0])
    assert_orthonormal_rows(U.mT)
    assert_orthonormal_rows(Vh)


@each_way
@pytest.mark.parametrize("shape", [(7, 5), (250, 300)], ids=str)
def test_zero_and_identity(shape: tuple[int, int], iterations: int | None):
    for matrix in (torch.zeros(shape), torch.eye(*shape)):
        U, S, Vh = randomized_svd(matrix, 4, power_iterations=iterations, generator=seeded(4))
        torch.testing.assert_close(S, torch.full((4,), float(matrix.any())), rtol=1e-5, atol=0)
        assert_orthonormal_rows(U.mT)
        assert_orthonormal_rows(Vh)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scales_that_squares_would_leave(scale: float):
    matrix = power_law(300, 250, 1.0).float()
    plain = randomized_svd(matrix, 8, generator=seeded(5))[1]
    scaled = randomized_svd(matrix * scale, 8, generator=seeded(5))[1]
    torch.testing.assert_close(scaled / scale, plain, rtol=1e-3, atol=0)


def test_a_steep_spectrum_keeps_its_small_values():
    values = torch.logspace(0, -5, 40, dtype=torch.float64)
    matrix = with_values(300, 260, values).float()
    S = randomized_svd(matrix, 30, generator=seeded(6))[1]
    torch.testing.assert_close(S.double(), values[:30], rtol=5e-2, atol=0)


def test_signs_and_draws_are_deterministic():
    matrix = power_law(300, 260, 1.0).float()
    first, again = (randomized_svd(matrix, 9, generator=seeded(7)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    U = first[0]
    assert (U.gather(0, U.abs().argmax(0, keepdim=True)) > 0).all()
    other = randomized_svd(matrix, 3, power_iterations=8, generator=seeded(8))[0]
    torch.testing.assert_close(other, U[:, :3], rtol=0, atol=1e-2)


def test_a_flat_spectrum_at_half_rank_goes_the_exact_way():
    matrix = torch.empty(200, 200)
    torch.nn.init.xavier_uniform_(matrix, generator=seeded(0))
    triple = randomized_svd(matrix, 100)
    assert abs(excess(matrix, 100, triple) - 1) < 1e-5


@pytest.mark.parametrize("shape", [(20, 90), (90, 20), (40, 41)], ids=str)
def test_the_gram_route_is_the_direct_decomposition(shape: tuple[int, int]):
    matrix = low_rank(*shape, 3, 0.1).float()
    U, S, V = full_svd(matrix)
    exact = torch.linalg.svdvals(matrix.double())
    torch.testing.assert_close(S.double(), exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close((U.mT * S) @ V, matrix, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("coarse", [True, False])
def test_coarse_products_cost_little_accuracy(coarse: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(krylov, "_bfloat16_pays", lambda matrix: coarse)
    for exponent in (0.5, 1.5):
        matrix = power_law(400, 380, exponent).float()
        assert excess(matrix, 40, randomized_svd(matrix, 40, generator=seeded(0))) < 1.02


def test_small_matrices_are_not_worth_a_draw():
    assert randomized._size(3, 10, None, 100) is None
    assert randomized._size(30, 10, None, 1000) == 54
    assert randomized._size(300, 10, None, 1000) is None
    assert randomized._size(30, 10, 2, 1000) == 40

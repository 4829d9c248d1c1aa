"""Estimators of rank on matrices whose rank is known."""

import math

import pytest
import torch

from eckart.errors import InputError
from eckart.linalg import (
    effective_rank,
    energy_rank,
    gavish_donoho_rank,
    numerical_rank,
    stable_rank,
    variational_rank,
)
from eckart.linalg.rank_estimation import marchenko_pastur_median
from spectra import low_rank

NOISY = [
    (80, 80, 6, 0.5),
    (99, 60, 5, 1.0),
    (40, 200, 8, 0.3),
    (90, 60, 0, 1.0),
    (60, 60, 4, 1e-6),
]
each_noisy = pytest.mark.parametrize("case", NOISY, ids=str)
each_seed = pytest.mark.parametrize("seed", [0, 10, 20])


def spectrum(case: tuple[int, int, int, float], seed: int) -> torch.Tensor:
    m, n, rank, noise = case
    return torch.linalg.svdvals(low_rank(m, n, rank, noise, seed))


@each_seed
@each_noisy
@pytest.mark.parametrize("known", [True, False])
def test_thresholds_find_the_rank_in_noise(case, seed: int, known: bool):
    m, n, rank, noise = case
    values, given = spectrum(case, seed), noise if known else None
    assert gavish_donoho_rank(values, (m, n), given) == rank
    assert variational_rank(values, (m, n), given).rank == rank


@each_noisy
def test_variational_bayes_finds_the_noise_and_shrinks(case):
    m, n, rank, noise = case
    values = spectrum(case, 3)
    found = variational_rank(values, (m, n))
    assert math.sqrt(found.noise_variance) == pytest.approx(noise, rel=0.05)
    assert (found.singular_values < values[:rank]).all()
    torch.testing.assert_close(found.singular_values, values[:rank], rtol=0.2, atol=0)


@pytest.mark.parametrize("noise", [0.5, None])
def test_variational_bayes_shrinks_as_the_closed_form_says(noise: float | None):
    values = spectrum((50, 80, 4, 0.5), 5)
    found = variational_rank(values, (50, 80), noise)
    s2, x = found.noise_variance, values[: found.rank].square()
    rest = 1 - 130 * s2 / x
    expected = values[: found.rank] / 2 * (rest + (rest**2 - 4 * 4000 * s2**2 / x**2).sqrt())
    torch.testing.assert_close(found.singular_values, expected)


@each_seed
def test_the_thresholds_do_not_depend_on_scale_or_transposition(seed: int):
    values = spectrum((50, 90, 5, 0.7), seed)
    for estimate in (gavish_donoho_rank, lambda v, s: variational_rank(v, s).rank):
        found = {estimate(values * c, s) for c in (1e-12, 1.0, 1e12) for s in ((50, 90), (90, 50))}
        assert found == {5}


def test_the_published_threshold_of_square_matrices():
    values = torch.tensor([2.8580, 1.0, 0.5])
    median = marchenko_pastur_median(1.0)
    assert 4 / math.sqrt(3) / math.sqrt(median) == pytest.approx(2.8582, abs=2e-4)
    assert gavish_donoho_rank(values * torch.tensor([1.001, 1, 1]), (3, 3)) == 1
    assert gavish_donoho_rank(values * torch.tensor([0.999, 1, 1]), (3, 3)) == 0


def test_energy_counts_squares():
    values = torch.tensor([4.0, 3.0, 0.0])
    assert [energy_rank(values, f) for f in (0.1, 0.64, 0.65, 1.0)] == [1, 1, 2, 2]


def test_how_evenly_a_spectrum_is_spread():
    assert effective_rank(torch.ones(7)) == pytest.approx(7)
    assert stable_rank(torch.ones(7)) == pytest.approx(7)
    one = torch.tensor([5.0, 0.0, 0.0])
    assert effective_rank(one) == pytest.approx(1)
    assert stable_rank(one) == pytest.approx(1)
    values = spectrum((40, 40, 5, 0.01), 0)
    assert 1 < stable_rank(values) < 5 < effective_rank(values) < 10


def test_numerical_rank_with_a_stated_tolerance():
    values = torch.linalg.svdvals(low_rank(40, 30, 6, 1e-9))
    assert numerical_rank(values, (40, 30)) == 30
    assert numerical_rank(values.float(), (40, 30)) == 6
    assert numerical_rank(values, (40, 30), tolerance=1e-6) == 6


def test_a_zero_matrix_has_rank_zero_for_everybody():
    zero = torch.zeros(3)
    assert (
        energy_rank(zero) == numerical_rank(zero, (3, 4)) == gavish_donoho_rank(zero, (3, 4)) == 0
    )
    assert variational_rank(zero, (3, 4)).rank == 0
    assert effective_rank(zero) == stable_rank(zero) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: energy_rank(torch.ones(2), 0.0), "fraction=0.0"),
        (lambda: energy_rank(torch.tensor([1.0, 2.0])), "descending"),
        (lambda: stable_rank(torch.tensor([1.0, -2.0])), "not negative"),
        (lambda: stable_rank(torch.ones(2, 2)), "expected a vector"),
        (lambda: gavish_donoho_rank(torch.ones(2), (3, 4)), "has 3"),
        (lambda: gavish_donoho_rank(torch.ones(3), (3, 4), -1.0), "noise=-1.0"),
        (lambda: variational_rank(torch.ones(3), (3, 4), 0.0), "noise=0.0"),
        (lambda: numerical_rank(torch.ones(3), (3, 4), -1.0), "tolerance=-1.0"),
    ],
)
def test_what_is_not_a_spectrum_is_refused(call, message: str):
    with pytest.raises(InputError, match=message):
        call()

"""Estimators of rank on matrices whose rank is known."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eckart.errors import InputError
from eckart.linalg import (
    effective_rank,
    energy_rank,
    gavish_donoho_rank,
    numerical_rank,
    priced_rank,
    stable_rank,
    variational_rank,
)
from eckart.linalg.ranks.rules import marchenko_pastur_median
from random_moments import normal
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


@given(n=st.integers(1, 12), price=st.floats(1e-3, 10), seed=st.integers(0, 99))
def test_at_one_price_each_what_exceeds_it_is_kept(n: int, price: float, seed: int):
    """``½σ² > price`` one by one: the closed form of a cost that is linear in the rank."""
    values = normal(n, seed=seed).abs().sort(descending=True).values
    prices = price * torch.arange(n + 1)
    assert priced_rank(values, prices) == int((values.square() / 2 > price).sum())


@given(n=st.integers(1, 8), seed=st.integers(0, 99))
def test_at_any_prices_no_other_rank_is_better(n: int, seed: int):
    matrix, prices = normal(n, n + 2, seed=seed), normal(n + 1, seed=seed + 1).abs() * n
    prices[0] = math.inf
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    truncated = [U[:, :r] * S[:r] @ Vh[:r] for r in range(n + 1)]
    totals = [
        float(p + (matrix - m).square().sum() / 2) for p, m in zip(prices, truncated, strict=True)
    ]
    assert totals[priced_rank(S, prices)] == pytest.approx(min(totals))


def test_of_equal_ranks_the_least_is_taken():
    assert priced_rank(torch.zeros(3), torch.zeros(4)) == 0
    assert priced_rank(torch.zeros(3), torch.tensor([math.inf, 1.0, 1.0, 1.0])) == 1


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        (torch.zeros(3), r"shape \(3,\); expected \(4,\)"),
        (torch.full((4,), math.inf), "at least one must be finite"),
        (torch.tensor([0.0, 1.0, math.nan, 3.0]), "must not hold NaN"),
    ],
)
def test_prices_that_cannot_be_paid(prices: torch.Tensor, message: str):
    with pytest.raises(InputError, match=message):
        priced_rank(torch.ones(3), prices)

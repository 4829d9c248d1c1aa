"""Scores: direction, standard errors, and the paired error of a drop."""

from math import inf, isnan, nan, sqrt

import pytest
import torch

from eckart.errors import InputError
from eckart.records import Score


def sampled(*values: float, higher_is_better: bool = True) -> Score:
    samples = torch.tensor(values, dtype=torch.float32)
    return Score(
        float(samples.mean()), len(values), higher_is_better=higher_is_better, samples=samples
    )


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_score_must_be_finite(value: float):
    with pytest.raises(InputError, match="must be finite"):
        Score(value)


@pytest.mark.parametrize(
    "result", [0.5, 1, torch.tensor(0.5), torch.tensor(0.5).requires_grad_(), Score(0.5)]
)
def test_numbers_and_scores_are_scores(result):
    score = Score.of(result)
    assert score.value == pytest.approx(1 if result == 1 else 0.5)
    assert score.higher_is_better


@pytest.mark.parametrize("result", [None, "high", torch.zeros(2), {"accuracy": 1.0}])
def test_what_is_no_number_is_refused(result):
    with pytest.raises(InputError, match="evaluate must return a number or a Score"):
        Score.of(result)


def test_a_drop_is_positive_when_worse():
    assert Score(0.7).drop_from(Score(0.9)) == pytest.approx(0.2)
    worse, better = (Score(x, higher_is_better=False) for x in (3.0, 2.0))
    assert worse.drop_from(better) == 1.0
    assert better.drop_from(worse) == -1.0


def test_the_standard_error_is_that_of_the_mean():
    score = sampled(0, 1, 1, 1)
    assert score.standard_error == pytest.approx(sqrt(0.25 / 4))
    assert Score(0.5, error=0.1).standard_error == 0.1
    assert isnan(Score(0.5).standard_error)
    assert isnan(sampled(1).standard_error)


def test_the_drop_error_is_paired_by_example():
    dense, same, other = sampled(0, 1, 1, 1), sampled(0, 1, 1, 1), sampled(1, 1, 1, 0)
    assert same.drop_error(dense) == 0
    differences = torch.tensor([1.0, 0.0, 0.0, -1.0])
    assert other.drop_error(dense) == pytest.approx(float(differences.std()) / 2)
    assert other.drop_error(dense) == dense.drop_error(other)


@pytest.mark.parametrize("other", [Score(0.5, 4), sampled(0, 1, 1), Score(0.5, error=0.1)], ids=str)
def test_the_drop_error_is_unknown_without_samples_of_the_same_examples(other: Score):
    assert isnan(sampled(0, 1, 1, 1).drop_error(other))
    assert isnan(other.drop_error(sampled(0, 1, 1, 1)))
    assert isnan(sampled(1).drop_error(sampled(1)))


def test_a_score_is_printed_with_what_is_known_of_it():
    assert str(Score(0.91437)) == "0.91437"
    assert str(Score(0.5, n=10_000)) == "0.5 (n = 10,000)"
    assert str(sampled(0.0, 1.0, 1.0, 0.0)) == "0.5 ± 0.29 (n = 4)"

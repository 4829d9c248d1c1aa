"""Bounds on the mean of differences: how often they are wrong, and how soon they decide."""

import math

import pytest
import torch
from torch import Tensor

from eckart.search.confidence import Evidence, least_examples

RUNS, N = 300, 1000


def accuracies(generator: torch.Generator, mean: float, n: int = N, gained: float = 0.02) -> Tensor:
    """Differences of hits: 1 where only the smaller network is wrong, −1 where only it is right."""
    chance = torch.rand(n, generator=generator, dtype=torch.float64)
    return (chance < gained + mean).double() - (chance > 1 - gained).double()


def nats(generator: torch.Generator, mean: float, n: int = N) -> Tensor:
    """Differences of losses, skewed to the bad side."""
    normal = torch.randn(n, generator=generator, dtype=torch.float64)
    skewed = (normal / 2).exp() - math.exp(1 / 8)
    return 0.1 * skewed + mean


@pytest.mark.parametrize(("draw", "most"), [(accuracies, 1.0), (nats, None)])
@pytest.mark.parametrize("mean", [0.01, 0.05])
def test_looking_after_every_example_is_wrong_in_at_most_one_of_twenty_runs(draw, most, mean):
    generator = torch.Generator().manual_seed(0)
    wrong = sum(
        Evidence(draw(generator, mean), 0.05, most, 0.3, N).is_below(mean) for _ in range(RUNS)
    )
    assert wrong <= 0.05 * RUNS


def test_looking_often_at_a_fixed_bound_would_be_wrong_more_often():
    """The simulation tells a valid bound from one for a number of examples fixed beforehand."""
    generator, wrong = torch.Generator().manual_seed(0), 0
    t = torch.arange(1, N + 1, dtype=torch.float64)
    for _ in range(RUNS):
        found = accuracies(generator, 0.05)
        mean = found.cumsum(0) / t
        spread = (found.square().cumsum(0) / t - mean.square()).clamp_min(0).sqrt() / t.sqrt()
        wrong += bool((mean + 1.645 * spread < 0.05)[63:].any())
    assert wrong > 0.1 * RUNS


@pytest.mark.parametrize(("draw", "most"), [(accuracies, 1.0), (nats, None)])
def test_the_bound_is_where_the_decision_changes(draw, most):
    found = Evidence(draw(torch.Generator().manual_seed(3), 0.02), 0.05, most, 0.3, N)
    assert found.is_below(found.bound() + 1e-9)
    assert not found.is_below(found.bound() - 1e-9)
    assert 0.0 < found.bound() < 0.06
    assert not found.is_above(0.02)
    assert found.is_above(-0.02)


def test_a_smaller_error_and_fewer_examples_give_a_wider_bound():
    found = accuracies(torch.Generator().manual_seed(2), 0.02)
    bounds = [Evidence(found[:n], e, 1.0).bound() for n, e in ((N, 0.1), (N, 0.01), (300, 0.01))]
    assert bounds == sorted(bounds)


def test_equal_networks_are_shown_to_be_with_the_least_number_of_examples():
    needed = least_examples(0.01, 1.0, 0.05)
    assert needed == 416  # somebody who bets all on it needs log(20) / 0.01 = 300
    assert Evidence(torch.zeros(needed).double(), 0.05, 1.0).is_below(0.01)
    assert not Evidence(torch.zeros(needed - 1).double(), 0.05, 1.0).is_below(0.01)
    assert least_examples(0.0, 1.0, 0.05) == 1


def test_few_differences_without_bounds_show_nothing():
    assert Evidence(torch.zeros(63).double(), 0.05, None, 1.0, N).bound() == float("inf")
    assert Evidence(torch.zeros(64).double(), 0.05, None, 1.0, N).bound() > 0.05


def test_the_ends_of_what_is_possible():
    found = Evidence(torch.ones(10).double(), 0.05, 1.0)
    assert found.is_below(1.5)
    assert not found.is_below(-1.0)
    assert not Evidence(torch.zeros(0).double(), 0.05, 1.0).is_below(0.5)

"""The seconds of rounding are measured on moments that can be factored."""

import torch

from benchmarks.language.rounding_seconds import random_moment
from eckart.linalg.rounding import triangle


def test_random_moments_are_positive_and_unequal():
    torch.manual_seed(0)
    moment = random_moment(24)
    values = torch.linalg.eigvalsh(moment)[0]
    assert values[0] > 0
    assert values[-1] > 20 * values[0]
    assert not triangle(moment).is_diagonal

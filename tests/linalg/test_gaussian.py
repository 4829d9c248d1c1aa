"""Random factors: the product is as large as the matrix it stands in for."""

import pytest
import torch

from eckart.errors import InputError, NonFiniteError
from eckart.linalg import random_factors
from random_moments import normal, seeded

each_core = pytest.mark.parametrize("core", [False, True])


@each_core
@pytest.mark.parametrize("scale", [1e-3, 1.0, 40.0])
def test_the_product_has_the_variance_of_the_weight(core: bool, scale: float):
    weight = scale * normal(2, 200, 150, seed=0)
    factors = random_factors(weight, 60, core=core, generator=seeded(1))
    product = factors[0] @ factors[1] @ factors[2] if core else factors[0] @ factors[1]
    assert product.shape == weight.shape
    for ours, theirs in zip(product, weight, strict=True):
        assert float(ours.std()) == pytest.approx(float(theirs.std()), rel=0.08)
        assert abs(float(ours.mean())) < 0.03 * float(theirs.std())


@each_core
def test_the_outer_factors_are_equally_large(core: bool):
    left, *_, right = random_factors(normal(1, 200, 50, seed=0), 30, core=core, generator=seeded(1))
    assert float(left.norm()) == pytest.approx(float(right.norm()), rel=0.1)


@each_core
def test_a_zero_weight_gives_a_zero_product_that_can_learn(core: bool):
    left, *others = random_factors(torch.zeros(1, 5, 7).double(), 2, core=core)
    assert not left.any()
    assert all(other.any() for other in others)


def test_a_generator_decides():
    weight = normal(1, 5, 7, seed=0)
    once, again = (random_factors(weight, 2, generator=seeded(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


@pytest.mark.parametrize("rank", [0, -1, 6])
def test_impossible_ranks_say_what_is_possible(rank: int):
    with pytest.raises(InputError, match=f"rank={rank}: a 5×7 matrix has ranks 1 to 5"):
        random_factors(normal(1, 5, 7, seed=0), rank)


def test_bad_weights_are_refused():
    with pytest.raises(NonFiniteError, match="weight holds NaN"):
        random_factors(torch.full((1, 5, 7), torch.nan).double(), 2)
    with pytest.raises(InputError, match="weight is on the meta device"):
        random_factors(torch.ones(1, 5, 7, device="meta").double(), 2)
    with pytest.raises(InputError, match="weight is empty"):
        random_factors(torch.ones(1, 0, 7).double(), 1)

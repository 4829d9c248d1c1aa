"""CP under weights: exact in the loss, in the last factor, and at the rank of the kernel."""

import sys

import pytest
import torch

from eckart.errors import InputError
from eckart.linalg import canonical_factors, quadratic_loss
from random_moments import normal, second_moment

A, G = second_moment(1, 12, seed=1)[0], second_moment(1, 5, seed=2)[0]


def test_a_kernel_of_one_component_is_recovered_and_the_answer_is_the_same_again():
    pytest.importorskip("tensorly")
    vectors = (normal(5, seed=3), normal(4, seed=4), normal(3, seed=5))
    kernel = torch.einsum("o,c,k->ock", *vectors)
    found, again = (canonical_factors(kernel, A, G, 1) for _ in range(2))
    merged = torch.einsum("or,rk,rc->ock", found.last, found.middle, found.first)
    torch.testing.assert_close(merged, kernel, rtol=1e-6, atol=1e-6)
    assert torch.equal(found.last, again.last)


def test_the_last_factor_is_least_squares_under_both_weights():
    pytest.importorskip("tensorly")
    kernel = normal(5, 4, 3, seed=0)
    found = canonical_factors(kernel, A, G, 3)
    for seed in range(20):
        last = found.last + 1e-3 * normal(5, 3, seed=seed)
        merged = torch.einsum("or,rk,rc->ock", last, found.middle, found.first)
        assert found.loss < quadratic_loss((kernel - merged).flatten(1), A, G)


def test_without_tensorly_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tensorly", None)
    with pytest.raises(InputError, match=r"eckart\[tensor\]"):
        canonical_factors(normal(5, 4, 3, seed=0), A, G, 1)

"""Grams of per-example gradients, whichever way is the cheaper, against autograd."""

import pytest
import torch

from eckart.linalg import gradient_grams
from random_moments import normal
from tolerances import tolerance


@pytest.mark.parametrize("shape", [(4, 3, 20, 15), (4, 50, 5, 3), (3, 1, 6, 4), (1, 7, 7, 7)])
def test_both_ways_are_the_gradients_that_autograd_gives(shape: tuple[int, ...]):
    examples, rows, columns, out = shape
    x, g = normal(examples, rows, columns, seed=0), normal(examples, rows, out, seed=1)
    weight = normal(out, columns, seed=2).requires_grad_()
    gradients = [
        torch.autograd.grad(((row @ weight.T) * grad).sum(), weight)[0]
        for row, grad in zip(x, g, strict=True)
    ]
    inner, outer = gradient_grams(x, g)
    close = tolerance(torch.float64)
    torch.testing.assert_close(inner, torch.stack([d.T @ d for d in gradients]).sum(0), **close)
    torch.testing.assert_close(outer, torch.stack([d @ d.T for d in gradients]).sum(0), **close)


def test_rows_of_zeros_count_for_nothing():
    x, g = normal(2, 6, 4, seed=3), normal(2, 6, 5, seed=4)
    x[:, 4:] = 0
    for found, wanted in zip(gradient_grams(x, g), gradient_grams(x[:, :4], g[:, :4]), strict=True):
        torch.testing.assert_close(found, wanted, **tolerance(torch.float64))

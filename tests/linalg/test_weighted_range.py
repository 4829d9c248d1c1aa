"""Weighted components without roots: the same optimum as with them."""

import pytest
import torch

from eckart.linalg import output_projection, quadratic_loss, roots, weighted_components
from random_moments import normal, second_moment
from spectra import seeded


@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (9, 9), (1, 6), (6, 1)], ids=str)
@pytest.mark.parametrize("rank", [1, 4])
def test_the_loss_is_that_of_the_projection(shape: tuple[int, int], rank: int):
    rank = min(rank, *shape)
    weight = normal(*shape, seed=0)
    a, g = second_moment(1, shape[1], seed=1)[0], second_moment(1, shape[0], seed=2)[0]
    found = weighted_components(weight, a, g, rank, power_iterations=12, generator=seeded(0))
    loss = quadratic_loss(weight - found.left @ found.right, a, g)
    best = output_projection(weight[None], a[None], g[None]).losses
    assert loss == pytest.approx(float(best[rank]), rel=1e-3, abs=1e-9 * float(best[0]))
    eye = torch.eye(rank, dtype=torch.float64)
    torch.testing.assert_close(found.left.mT @ g @ found.left, eye, rtol=0, atol=1e-8)
    squares = found.right @ a @ found.right.mT
    torch.testing.assert_close(
        squares, found.singular_values.square().diag(), rtol=1e-6, atol=1e-8 * float(best[0])
    )
    exact = torch.linalg.svdvals(roots(g)[0] @ weight @ roots(a)[0])[:rank]
    torch.testing.assert_close(found.singular_values, exact, rtol=1e-2, atol=1e-9)


def test_singular_moments_need_no_inverse():
    weight, rows = normal(10, 14, seed=0), normal(14, 3, seed=1)
    a, g = rows @ rows.mT, torch.diag(torch.tensor([1.0] * 5 + [0.0] * 5, dtype=torch.float64))
    found = weighted_components(weight, a, g, 6, generator=seeded(0))
    assert (found.singular_values[3:] == 0).all()
    assert torch.isfinite(found.left).all()
    whole = quadratic_loss(weight, a, g)
    assert quadratic_loss(weight - found.left @ found.right, a, g) < 1e-12 * whole


def test_a_zero_weight_has_no_components():
    eye = torch.eye(4)
    found = weighted_components(torch.zeros(4, 4), eye, eye, 2)
    assert not found.left.any()
    assert not found.singular_values.any()

"""CP under weights: exact in the loss, in the last factor, and at the rank of the kernel."""

import pytest
import torch

from eckart.linalg import (
    canonical_factors,
    canonical_path,
    canonical_refined,
    quadratic_loss,
)
from eckart.linalg.channel_subspace import channel_subspace
from random_moments import normal, second_moment

A, G = second_moment(1, 12, seed=1)[0], second_moment(1, 5, seed=2)[0]


def test_a_kernel_of_one_component_is_recovered_and_the_answer_is_the_same_again():
    vectors = (normal(5, seed=3), normal(4, seed=4), normal(3, seed=5))
    kernel = torch.einsum("o,c,k->ock", *vectors)
    found, again = (canonical_factors(kernel, A, G, 1) for _ in range(2))
    merged = torch.einsum("or,rk,rc->ock", found.last, found.middle, found.first)
    torch.testing.assert_close(merged, kernel, rtol=1e-4, atol=1e-4)
    assert torch.equal(found.last, again.last)


def test_the_last_factor_is_least_squares_under_both_weights():
    kernel = normal(5, 4, 3, seed=0)
    found = canonical_factors(kernel, A, G, 3)
    for seed in range(20):
        last = found.last + 1e-3 * normal(5, 3, seed=seed)
        merged = torch.einsum("or,rk,rc->ock", last, found.middle, found.first)
        assert found.loss < quadratic_loss((kernel - merged).flatten(1), A, G)


def test_a_path_of_ranks_loses_about_what_each_rank_loses_when_it_is_searched_alone():
    kernel = normal(8, 6, 9, seed=0)
    a, g = second_moment(1, 54, seed=1)[0], second_moment(1, 8, seed=2)[0]
    path = canonical_path(kernel, a, g, [2, 4, 8, 12])
    losses = [factors.loss for factors in path]
    assert [len(factors.first) for factors in path] == [2, 4, 8, 12]
    assert losses == sorted(losses, reverse=True)
    for factors in path:
        merged = torch.einsum("or,rk,rc->ock", factors.last, factors.middle, factors.first)
        assert factors.loss == pytest.approx(quadratic_loss((kernel - merged).flatten(1), a, g))
        alone = canonical_factors(kernel, a, g, len(factors.first))
        assert alone.loss <= factors.loss < 3 * alone.loss


def test_low_ranks_of_a_wide_kernel_are_searched_in_a_subspace_and_lose_what_is_said():
    kernel = normal(8, 20, 3, seed=0) * torch.logspace(0, -1, 20, dtype=torch.float64)[:, None]
    a, g = second_moment(1, 60, seed=1)[0], second_moment(1, 8, seed=2)[0]
    for factors in canonical_path(kernel, a, g, [3, 6]):
        assert factors.first.shape == (len(factors.first), 20)
        merged = torch.einsum("or,rk,rc->ock", factors.last, factors.middle, factors.first)
        assert factors.loss == pytest.approx(quadratic_loss((kernel - merged).flatten(1), a, g))
    assert torch.linalg.matrix_rank(factors.first) == 6


def test_what_a_subspace_loses_adds_to_what_is_lost_in_it():
    kernel = normal(8, 6, 9, seed=0)
    a, g = second_moment(1, 54, seed=1)[0], second_moment(1, 8, seed=2)[0]
    inner = channel_subspace(kernel, a, g, 4)
    kept = torch.einsum("ofk,fc->ock", inner.kernel, inner.basis)
    assert quadratic_loss((kernel - kept).flatten(1), a, g) == pytest.approx(inner.left)
    other = inner.kernel + normal(8, 4, 9, seed=3)
    lifted = torch.einsum("ofk,fc->ock", other, inner.basis)
    within = quadratic_loss((inner.kernel - other).flatten(1), inner.a, g)
    total = quadratic_loss((kernel - lifted).flatten(1), a, g)
    assert total == pytest.approx(inner.left + within)
    assert channel_subspace(kernel, a, g, 6).left == pytest.approx(0, abs=1e-9 * total)


def test_refining_lowers_the_loss_and_never_raises_it():
    kernel = normal(8, 6, 9, seed=0)
    a, g = second_moment(1, 54, seed=1)[0], second_moment(1, 8, seed=2)[0]
    (start,) = canonical_path(kernel, a, g, [12])
    better = canonical_refined(kernel, a, g, start)
    assert better.loss < 0.8 * start.loss
    assert canonical_refined(kernel, a, g, start, most=0).loss <= start.loss


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_it_loses_less_than_tensorly_on_the_kernel_in_root_weights(rank: int):
    """As it was done before: alternating least squares under the marginals of A, then the last."""
    tensorly = pytest.importorskip("tensorly")
    from tensorly.decomposition import parafac

    kernel = normal(5, 4, 3, seed=0)
    blocks = A.reshape(4, 3, 4, 3)
    over = (
        torch.linalg.cholesky(G).mT,
        torch.linalg.cholesky(blocks.diagonal(dim1=1, dim2=3).mean(-1)),
        torch.linalg.cholesky(torch.einsum("ckcl->kl", blocks)),
    )
    weighted = torch.einsum("ock,po,cd,kl->pdl", kernel, *over)
    with tensorly.backend_context("numpy"):
        _, parts = parafac(weighted.numpy(), rank, n_iter_max=100, init="svd", l2_reg=1e-12)
    channels, positions = (torch.from_numpy(part) for part in parts[1:])
    c = torch.linalg.solve(over[1].mT, channels)
    k = torch.linalg.solve(over[2].mT, positions)
    rows = torch.einsum("cr,kr->rck", c, k).flatten(1)
    last = torch.linalg.lstsq(rows @ A @ rows.mT, rows @ A @ kernel.flatten(1).mT).solution.mT
    theirs = quadratic_loss(kernel.flatten(1) - last @ rows, A, G)
    assert canonical_factors(kernel, A, G, rank).loss <= 1.001 * theirs


def test_a_kernel_of_zeros_and_gradients_left_off_are_no_trouble():
    with torch.no_grad():
        found = canonical_factors(torch.zeros(5, 4, 3, dtype=torch.float64), A, G, 2)
    assert found.loss == 0
    assert not found.first.requires_grad


@pytest.mark.parametrize("a", ["zero", "one direction"])
def test_collinear_components_are_solved(a: str):
    """Moments of rank one make all components equal to what they see of it."""
    direction = normal(12, seed=6)
    moment = torch.zeros_like(A) if a == "zero" else torch.outer(direction, direction)
    kernel = normal(5, 4, 3, seed=0)
    found = canonical_factors(kernel, moment, G, 6)
    assert 0 <= found.loss < 1e-6 * quadratic_loss(kernel.flatten(1), A, G)
    assert all(torch.isfinite(part).all() for part in (found.first, found.middle, found.last))

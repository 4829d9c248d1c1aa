"""Eckart and Young in the metric of A and G: no rival wins, and every loss is what is measured."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from eckart.linalg import (
    NestedFactors,
    nested_losses,
    output_projection,
    quadratic_loss,
    roots,
    truncated_svd,
)
from random_moments import losses_of, normal, second_moment
from tolerances import tolerance

CLOSE = tolerance(torch.float64)
SHAPES = [(1, 6, 9), (1, 9, 6), (1, 5, 5), (3, 4, 6), (1, 1, 7), (1, 7, 1), (2, 1, 1)]


def activation_projection(weight: Tensor, a: Tensor, g: Tensor) -> NestedFactors:
    factors = output_projection(weight, a)
    losses = nested_losses(factors.left, factors.right, a, g)
    return NestedFactors(factors.left, factors.right, losses)


Decompose = Callable[[Tensor, Tensor, Tensor], NestedFactors]
each_decomposition = pytest.mark.parametrize(
    "decompose",
    [output_projection, activation_projection, truncated_svd],
    ids=["weighted", "activation", "plain"],
)
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def problem(shape: tuple[int, int, int], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    groups, out, inputs = shape
    weight = normal(groups, out, inputs, seed=seed)
    a = second_moment(groups, inputs, seed=seed + 1)
    return weight, a, second_moment(groups, out, seed=seed + 2)


def products(factors: NestedFactors) -> list[Tensor]:
    """The matrix of every rank, from none."""
    ranks = range(factors.left.shape[-1] + 1)
    return [factors.left[..., :r] @ factors.right[:, :r] for r in ranks]


def assert_losses_are_measured(factors: NestedFactors, w: Tensor, a: Tensor, g: Tensor) -> None:
    scale = max(quadratic_loss(w, a, g), 1e-300)
    measured = losses_of(w, products(factors), a, g)
    torch.testing.assert_close(factors.losses / scale, measured / scale, **CLOSE)


@each_decomposition
@each_shape
def test_every_loss_is_what_is_measured(decompose: Decompose, shape: tuple[int, int, int]):
    weight, a, g = problem(shape)
    assert_losses_are_measured(decompose(weight, a, g), weight, a, g)


@each_decomposition
@each_shape
def test_full_rank_gives_the_matrix_back(decompose: Decompose, shape: tuple[int, int, int]):
    weight, a, g = problem(shape)
    factors = decompose(weight, a, g)
    assert factors.left.shape[-1] == min(shape[1:])
    torch.testing.assert_close(products(factors)[-1], weight, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("rival", [activation_projection, truncated_svd])
@each_shape
def test_no_other_decomposition_beats_the_weighted_one(rival: Decompose, shape):
    weight, a, g = problem(shape)
    best = output_projection(weight, a, g).losses
    other = losses_of(weight, products(rival(weight, a, g)), a, g)
    assert (best <= other * (1 + 1e-9) + 1e-12).all()
    if min(shape[1:]) > 2:
        assert (best[1:-1] < 0.999 * other[1:-1]).all(), "moments far from white must matter"


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_no_random_rival_beats_the_weighted_projection(rank: int):
    weight, a, g = problem((1, 6, 9))
    factors = output_projection(weight, a, g)
    best = products(factors)[rank]
    rivals = [normal(1, 6, rank, seed=s) @ normal(1, rank, 9, seed=s + 99) for s in range(50)]
    left, right = factors.left[..., :rank], factors.right[:, :rank]
    for step in (1e-1, 1e-3):
        for s in range(50):
            moved = left + step * normal(1, 6, rank, seed=s) * left.abs().mean()
            rivals.append(moved @ (right + step * normal(1, rank, 9, seed=-s) * right.abs().mean()))
    assert quadratic_loss(weight - best, a, g) < losses_of(weight, rivals, a, g).min()


@given(out=st.integers(1, 6), inputs=st.integers(1, 6), seed=st.integers(0, 99))
def test_losses_are_the_tail_of_the_whitened_singular_values(out: int, inputs: int, seed: int):
    weight, a, g = problem((1, out, inputs), seed)
    whitened = roots(g)[0] @ weight @ roots(a)[0]
    squares = torch.linalg.svdvals(whitened)[0].square()
    tails = [0.5 * squares[r:].sum() for r in range(len(squares) + 1)]
    losses = output_projection(weight, a, g).losses
    torch.testing.assert_close(losses, torch.stack(tails), rtol=1e-7, atol=1e-9)


def test_white_moments_give_the_plain_svd():
    weight, eye = normal(1, 5, 7, seed=3), torch.eye
    a, g = (eye(n, dtype=torch.float64)[None] for n in (7, 5))
    plain = products(truncated_svd(weight, a, g))
    for decompose in (output_projection, activation_projection):
        torch.testing.assert_close(products(decompose(weight, a, g)), plain, **CLOSE)


@each_shape
def test_without_moments_the_losses_are_half_the_squares_left_out(shape: tuple[int, int, int]):
    weight, _, _ = problem(shape)
    factors = truncated_svd(weight)
    eyes = (torch.eye(n, dtype=torch.float64).expand(len(weight), n, n) for n in shape[:0:-1])
    assert_losses_are_measured(factors, weight, *eyes)


@each_decomposition
@each_shape
def test_a_core_takes_the_scales_and_changes_no_product(decompose: Decompose, shape):
    weight, a, g = problem(shape)
    factors = decompose(weight, a, g)
    for rank, product in enumerate(products(factors)):
        left, core, right = factors.with_core(rank)
        torch.testing.assert_close(left @ core @ right, product, **CLOSE)
        assert (core == torch.diag_embed(core.diagonal(dim1=1, dim2=2))).all()
        for norms in (left.norm(dim=1), right.norm(dim=2)):
            torch.testing.assert_close(norms, torch.ones_like(norms), **CLOSE)


def test_a_component_that_is_zero_keeps_a_core_to_learn_with():
    left, core, right = truncated_svd(torch.zeros(1, 4, 3).double()).with_core(2)
    assert not (left @ core @ right).any()
    assert (core.diagonal(dim1=1, dim2=2) == 1).all()
    assert left.any() or right.any()


@each_decomposition
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_deficient_matrix_is_exact_from_its_own_rank_on(decompose: Decompose, rank: int):
    _, a, g = problem((2, 5, 7))
    weight = normal(2, 5, rank, seed=7) @ normal(2, rank, 7, seed=8)
    factors = decompose(weight, a, g)
    assert_losses_are_measured(factors, weight, a, g)
    for product in products(factors)[rank:]:
        torch.testing.assert_close(product, weight, **CLOSE)


@each_decomposition
@pytest.mark.parametrize("dead", ["inputs", "outputs", "both"])
def test_dead_inputs_and_outputs_are_no_obstacle(decompose: Decompose, dead: str):
    weight, a, g = problem((1, 5, 7))
    alive_a, alive_g = torch.ones(7), torch.ones(5)
    if dead != "outputs":
        alive_a[2:5] = 0
    if dead != "inputs":
        alive_g[1:3] = 0
    a = a * alive_a * alive_a[:, None] + 1e-8 * torch.eye(7)
    g = g * alive_g * alive_g[:, None] + 1e-8 * torch.eye(5)
    factors = decompose(weight, a, g)
    assert_losses_are_measured(factors, weight, a, g)
    torch.testing.assert_close(products(factors)[-1], weight, rtol=1e-6, atol=1e-8)


@each_decomposition
@each_shape
def test_balanced_factors_have_equal_norms_and_the_same_product(decompose: Decompose, shape):
    weight, a, g = problem(shape)
    factors = decompose(weight, a, g)
    for rank, product in enumerate(products(factors)):
        left, right = factors.balanced(rank)
        torch.testing.assert_close(left @ right, product, **CLOSE)
        torch.testing.assert_close(left.norm(dim=1), right.norm(dim=2), **CLOSE)


@each_decomposition
def test_balanced_factors_of_a_zero_matrix_are_finite_and_zero(decompose: Decompose):
    _, a, g = problem((2, 4, 3))
    left, right = decompose(torch.zeros(2, 4, 3, dtype=torch.float64), a, g).balanced(2)
    assert torch.isfinite(left).all()
    assert torch.isfinite(right).all()
    assert torch.equal(left @ right, torch.zeros(2, 4, 3, dtype=torch.float64))

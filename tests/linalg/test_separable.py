"""Spatial factors: the loss of every rank is that of the kernel they compose to."""

import pytest
import torch
from torch import Tensor

from eckart.linalg import SeparableFactors, quadratic_loss, separable, separable_factors
from random_moments import losses_of, normal, second_moment
from tolerances import tolerance

CLOSE = tolerance(torch.float64)
Shape = tuple[int, int, int, int, int]
SHAPES: list[Shape] = [  # groups, out, channels, kh, kw
    (1, 4, 3, 3, 3),
    (1, 2, 5, 3, 2),
    (1, 6, 1, 2, 4),
    (3, 2, 2, 3, 3),
    (4, 1, 1, 3, 3),
    (1, 1, 1, 2, 2),
]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def moments(shape: Shape) -> tuple[Tensor, Tensor]:
    groups, out, channels, kh, kw = shape
    return (
        second_moment(groups, channels * kh * kw, seed=1),
        second_moment(groups, out, seed=2),
    )


def separable_kernel(shape: Shape, rank: int) -> Tensor:
    groups, out, channels, kh, kw = shape
    first = normal(groups, rank, channels, kh, seed=3)
    second = normal(groups, out, rank, kw, seed=4)
    return torch.einsum("grcy,gorx->gocyx", first, second)


def composed(factors: SeparableFactors) -> list[Tensor]:
    """The kernel of every rank, from none, as matrices."""
    pairs = [factors.balanced(rank) for rank in range(1, factors.first.shape[1] + 1)]
    kernels = [torch.einsum("grcy,gorx->gocyx", *pair).flatten(2) for pair in pairs]
    return [torch.zeros_like(kernels[0]), *kernels]


def assert_losses_are_measured(kernel: Tensor, a: Tensor, g: Tensor) -> SeparableFactors:
    factors = separable_factors(kernel, a, g, max_rank=99)
    weight = kernel.flatten(2)
    scale = max(quadratic_loss(weight, a, g), 1e-300)
    measured = losses_of(weight, composed(factors), a, g)
    torch.testing.assert_close(factors.losses / scale, measured / scale, **CLOSE)
    return factors


@each_shape
def test_every_loss_is_what_is_measured(shape: Shape):
    factors = assert_losses_are_measured(normal(*shape, seed=0), *moments(shape))
    assert (factors.losses.diff() <= 1e-12 * factors.losses[0]).all()


@each_shape
def test_the_largest_rank_gives_the_kernel_back(shape: Shape):
    kernel = normal(*shape, seed=0)
    factors = separable_factors(kernel, *moments(shape), max_rank=99)
    _, out, channels, kh, kw = shape
    assert factors.first.shape[1] == min(channels * kh, kw * out)
    torch.testing.assert_close(composed(factors)[-1], kernel.flatten(2), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_separable_kernel_is_recovered_at_its_rank(rank: int, groups: int):
    shape = (groups, 4, 3, 3, 3)
    kernel = separable_kernel(shape, rank)
    factors = assert_losses_are_measured(kernel, *moments(shape))
    assert len(factors.losses) == rank + 1, "ranks beyond the kernel's own are not offered"
    torch.testing.assert_close(composed(factors)[rank], kernel.flatten(2), rtol=1e-7, atol=1e-8)


def test_max_rank_bounds_what_is_prepared():
    shape = SHAPES[0]
    kernel = normal(*shape, seed=0)
    every, few = (separable_factors(kernel, *moments(shape), max_rank=m) for m in (99, 2))
    torch.testing.assert_close(few.losses, every.losses[:3], **CLOSE)


@each_shape
def test_second_factor_is_least_squares_for_the_first(shape: Shape):
    """No other horizontal kernels do better for the same vertical ones."""
    kernel = normal(*shape, seed=0)
    a, g = moments(shape)
    factors = separable_factors(kernel, a, g, max_rank=99)
    first, second = factors.balanced(1)
    nudges = [1e-3 * normal(*second.shape, seed=s) for s in range(20)]
    rivals = [torch.einsum("grcy,gorx->gocyx", first, second + n).flatten(2) for n in nudges]
    assert factors.losses[1] < losses_of(kernel.flatten(2), rivals, a, g).min()


@pytest.mark.parametrize("groups", [1, 3])
def test_zero_weights_cost_nothing(groups: int):
    shape = (groups, 2, 2, 3, 3)
    kernel = torch.zeros(shape, dtype=torch.float64)
    factors = separable_factors(kernel, *moments(shape), max_rank=99)
    assert torch.equal(factors.losses, torch.zeros_like(factors.losses))
    for product in composed(factors):
        torch.testing.assert_close(product, kernel.flatten(2), rtol=0, atol=0)


def test_a_group_of_zero_weights_does_not_bind_the_others():
    shape = (3, 2, 2, 3, 3)
    kernel = normal(*shape, seed=0)
    kernel[1] = 0
    factors = assert_losses_are_measured(kernel, *moments(shape))
    torch.testing.assert_close(composed(factors)[-1], kernel.flatten(2), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("damping", [1e-6, 1e-12])
def test_dead_channels_are_no_obstacle(damping: float):
    shape = (1, 4, 3, 3, 3)
    a, g = moments(shape)
    alive = torch.ones(3, 9)
    alive[1] = 0
    a = a * alive.flatten() * alive.flatten()[:, None] + damping * torch.eye(27)
    kernel = normal(*shape, seed=0)
    factors = assert_losses_are_measured(kernel, a, g)
    assert torch.isfinite(torch.cat([p.flatten() for p in composed(factors)])).all()


@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e25])
@each_shape
def test_directions_in_float32_are_as_good(
    shape: Shape, scale: float, monkeypatch: pytest.MonkeyPatch
):
    """As wide kernels have them; the losses are those of these factors, in float64."""
    kernel, (a, g) = scale * normal(*shape, seed=0), moments(shape)
    exact = separable_factors(kernel, a, g, max_rank=99).losses
    monkeypatch.setattr(separable, "_WIDE", 1)
    quick = assert_losses_are_measured(kernel, a, g).losses
    torch.testing.assert_close(quick / exact[0], exact / exact[0], rtol=1e-3, atol=1e-6)

"""Derivatives in closed form against automatic differentiation and finite differences."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from eckart.linalg import (
    frobenius_gradients,
    rayleigh_gradient,
    rayleigh_hessian,
    rayleigh_quotient,
    weighted_gradients,
)
from random_moments import normal, second_moment
from tolerances import tolerance

CLOSE = tolerance(torch.float64)
SHAPES = [(5, 7, 3, 2), (4, 4, 4, 4), (1, 6, 2, 3), (6, 1, 1, 1)]


def differences(function: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-5) -> Tensor:
    """Central differences in every entry."""
    slopes = torch.empty(at.numel(), dtype=at.dtype)
    for i in range(at.numel()):
        move = torch.zeros_like(at).flatten()
        move[i] = step
        up, down = function(at + move.view_as(at)), function(at - move.view_as(at))
        slopes[i] = (up - down) / (2 * step)
    return slopes.view_as(at)


def assert_gradients(
    loss: Callable[[Tensor, Tensor], Tensor], U: Tensor, V: Tensor, found: tuple[Tensor, Tensor]
) -> None:
    left, right = U.clone().requires_grad_(), V.clone().requires_grad_()
    automatic = torch.autograd.grad(loss(left, right), (left, right))
    torch.testing.assert_close(found, automatic, **CLOSE)
    numeric = differences(lambda u: loss(u, V), U), differences(lambda v: loss(U, v), V)
    torch.testing.assert_close(found, numeric, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("diagonal", [True, False])
def test_frobenius_gradients(shape: tuple[int, int, int, int], diagonal: bool):
    out, inputs, r, s = shape
    s = r if diagonal else s
    X, U, V = normal(out, inputs, seed=0), normal(out, r, seed=1), normal(s, inputs, seed=2)
    D = normal(r, seed=3).diag() if diagonal else normal(r, s, seed=3)
    found = frobenius_gradients(X, U, D, V)
    assert_gradients(lambda u, v: 0.5 * (X - u @ D @ v).square().sum(), U, V, found)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_weighted_gradients(shape: tuple[int, int, int, int]):
    out, inputs, r, _ = shape
    W, U, V = normal(out, inputs, seed=0), normal(out, r, seed=1), normal(r, inputs, seed=2)
    A, G = second_moment(1, inputs, seed=3)[0], second_moment(1, out, seed=4)[0]

    def loss(u: Tensor, v: Tensor) -> Tensor:
        E = W - u @ v
        return 0.5 * torch.trace(G @ E @ A @ E.mT)

    assert_gradients(loss, U, V, weighted_gradients(W, A, G, U, V))


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_the_rayleigh_quotient_and_its_derivatives(n: int, scale: float):
    A, x = normal(n, n, seed=0), scale * normal(n, seed=1)
    A = A + A.mT

    def quotient(v: Tensor) -> Tensor:
        return v @ A @ v / (v @ v)

    torch.testing.assert_close(rayleigh_quotient(A, x), quotient(x), **CLOSE)
    gradient, hessian = rayleigh_gradient(A, x), rayleigh_hessian(A, x)
    torch.testing.assert_close(gradient, torch.func.grad(quotient)(x), **CLOSE)
    torch.testing.assert_close(hessian, torch.autograd.functional.hessian(quotient, x), **CLOSE)
    torch.testing.assert_close(gradient, differences(quotient, x), rtol=1e-5, atol=1e-6)
    rows = [differences(lambda v, i=i: rayleigh_gradient(A, v)[i], x) for i in range(n)]
    torch.testing.assert_close(hessian, torch.stack(rows), rtol=1e-5, atol=1e-6)
    assert abs(float(gradient @ x)) < 1e-9 * float(A.norm())
    torch.testing.assert_close(hessian, hessian.mT)


def test_eigenvectors_are_the_stationary_points():
    A = normal(6, 6, seed=0)
    A = A + A.mT
    values, vectors = torch.linalg.eigh(A)
    for i in range(6):
        gradient = rayleigh_gradient(A, vectors[:, i])
        assert float(gradient.norm()) < 1e-12
        curvature = torch.linalg.eigvalsh(rayleigh_hessian(A, vectors[:, i]))
        torch.testing.assert_close(curvature, 2 * (values - values[i]), rtol=0, atol=1e-11)

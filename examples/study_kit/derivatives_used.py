"""What the derivatives of the theory part are good for: eigenvalues and matrices of low rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

import torch
from torch import Tensor

from eckart.linalg import (
    alternating_least_squares,
    frobenius_gradients,
    largest_eigenvalue,
    rayleigh_gradient,
    rayleigh_hessian,
    rayleigh_quotient,
)
from study_kit.identities import normal, symmetric
from study_kit.study import Row

ENOUGH = 1e-6  # relative error at which the slow ones stop


def uses(n: int) -> Iterator[Row]:
    """Steps and relative error of each solver, for n×n matrices."""
    generator = torch.Generator().manual_seed(0)
    A, start = symmetric(n, generator), normal(n, generator=generator)
    for name, (steps, error) in {
        "gradient steps": ascent(A, start),
        "Lanczos, which combines the gradients": lanczos(A),
    }.items():
        yield {"problem": "largest eigenvalue", "by": name, "steps": steps, "error": error}
    steps, error = newton(A, start)
    yield {"problem": "an eigenvector", "by": "Newton's method", "steps": steps, "error": error}
    for name, (steps, error) in factored(n, generator).items():
        yield {"problem": "best matrix of rank r", "by": name, "steps": steps, "error": error}


def ascent(A: Tensor, x: Tensor) -> tuple[int, float]:
    """Gradient steps of the Rayleigh quotient, no longer than its curvature allows."""
    values = torch.linalg.eigvalsh(A)
    top, spread = values[-1], values[-1] - values[0]
    for step in count():
        x = x / x.norm()
        error = float((top - rayleigh_quotient(A, x)) / top)
        if error <= ENOUGH:
            return step, error
        x = x + rayleigh_gradient(A, x) / (2 * spread)
    raise AssertionError


def lanczos(A: Tensor) -> tuple[int, float]:
    """Products with A, and the error of the lower bound."""
    top = torch.linalg.eigvalsh(A)[-1]
    found = largest_eigenvalue(A, tolerance=ENOUGH, generator=torch.Generator().manual_seed(0))
    return found.products, float((top - found.lower) / top)


def newton(A: Tensor, x: Tensor) -> tuple[int, float]:
    """Newton's method on the vectors orthogonal to x, where the Hessian can be inverted.

    Along x it says nothing: ∇²ρ x = −∇ρ, so the full Newton step would be x itself.
    """
    scale = float(torch.linalg.matrix_norm(A, 2))
    for step in count():
        x = x / x.norm()
        slope = rayleigh_gradient(A, x)
        error = float(slope.norm()) / scale
        if error <= 1e-12:
            return step, error
        along = torch.outer(x, x)
        across = torch.eye(len(x), dtype=x.dtype) - along
        curved = across @ rayleigh_hessian(A, x) @ across
        x = x - across @ torch.linalg.solve(curved + scale * along, slope)
    raise AssertionError


def factored(n: int, generator: torch.Generator) -> dict[str, tuple[int, float]]:
    """Singular values that fall by a tenth each, cut at rank r = n/10, from random factors."""
    r, size = max(1, n // 10), n**-0.5
    outer, inner = (torch.linalg.qr(normal(n, n, generator=generator))[0] for _ in range(2))
    values = 0.9 ** torch.arange(n, dtype=torch.float64)
    X, best = outer @ values.diag() @ inner, float(values[r:].square().sum() / 2)
    U, D = size * normal(n, r, generator=generator), torch.linspace(2, 1, r, dtype=X.dtype).diag()
    V, whole = size * normal(r, n, generator=generator), torch.eye(n, dtype=X.dtype)
    losses = alternating_least_squares(X, whole, whole, U @ D, V, steps=500).losses
    return {
        "gradient steps in U and V in turn": _enough(list(descent(X, U, D, V)), best),
        "the U, then the V of zero gradient": _enough(losses, best),
    }


def descent(X: Tensor, U: Tensor, D: Tensor, V: Tensor) -> Iterator[float]:
    """The losses of steps of 1/L, where L is the largest eigenvalue of the other factor's Gram."""
    for _ in range(1000):
        yield float((X - U @ D @ V).square().sum() / 2)
        U = U - frobenius_gradients(X, U, D, V)[0] / torch.linalg.matrix_norm(D @ V, 2) ** 2
        V = V - frobenius_gradients(X, U, D, V)[1] / torch.linalg.matrix_norm(U @ D, 2) ** 2


def _enough(losses: Sequence[float], best: float) -> tuple[int, float]:
    """The first step at which the loss is near enough to the least, and how near."""
    excess = [loss / best - 1 for loss in losses]
    step = next((i for i, e in enumerate(excess) if e <= ENOUGH), len(excess) - 1)
    return step, abs(excess[step])

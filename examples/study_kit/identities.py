"""The identities of the theory part, each as its largest relative error in one random case."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from eckart.linalg import (
    frobenius_gradients,
    rayleigh_gradient,
    rayleigh_hessian,
)

Check = Callable[[int, torch.Generator], float]


def relative(found: Tensor, expected: Tensor) -> float:
    """‖found − expected‖ / ‖expected‖."""
    return float((found - expected).norm() / expected.norm())


def normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def symmetric(n: int, generator: torch.Generator) -> Tensor:
    whole = normal(n, n, generator=generator)
    return whole + whole.mT


def factored_gradients(n: int, generator: torch.Generator) -> float:
    """Both gradients of ½ ‖X − U D V‖² with a diagonal D of half the size."""
    k = n // 2
    X, D = normal(n, n, generator=generator), normal(k, generator=generator).diag()
    U, V = normal(n, k, generator=generator), normal(k, n, generator=generator)

    def loss(u: Tensor, v: Tensor) -> Tensor:
        return 0.5 * (X - u @ D @ v).square().sum()

    expected = torch.func.grad(loss, (0, 1))(U, V)
    return max(map(relative, frobenius_gradients(X, U, D, V), expected))


def rayleigh_derivatives(n: int, generator: torch.Generator) -> float:
    """Gradient and Hessian of xᵀ A x / xᵀ x."""
    A, x = symmetric(n, generator), normal(n, generator=generator)

    def quotient(v: Tensor) -> Tensor:
        return v @ A @ v / (v @ v)

    first = relative(rayleigh_gradient(A, x), torch.func.grad(quotient)(x))
    return max(
        first, relative(rayleigh_hessian(A, x), torch.autograd.functional.hessian(quotient, x))
    )


def hessian_along_the_vector(n: int, generator: torch.Generator) -> float:
    """∇²ρ x = −∇ρ, because ρ does not depend on the length of x."""
    A, x = symmetric(n, generator), normal(n, generator=generator)
    return relative(rayleigh_hessian(A, x) @ x, -rayleigh_gradient(A, x))


def exponential_of_a_similar_matrix(n: int, generator: torch.Generator) -> float:
    """exp(S⁻¹ A S) = S⁻¹ exp(A) S."""
    A = normal(n, n, generator=generator) / n**0.5
    S = torch.eye(n, dtype=A.dtype) + normal(n, n, generator=generator) / (4 * n**0.5)
    inverse = torch.linalg.inv(S)
    return relative(torch.matrix_exp(inverse @ A @ S), inverse @ torch.matrix_exp(A) @ S)


def exponential_by_eigenvalues(n: int, generator: torch.Generator) -> float:
    """exp(A) = Q diag(exp λ) Qᵀ for a symmetric A = Q diag(λ) Qᵀ."""
    A = symmetric(n, generator) / n**0.5
    values, Q = torch.linalg.eigh(A)
    return relative(torch.matrix_exp(A), Q @ values.exp().diag() @ Q.mT)


def determinant_of_the_exponential(n: int, generator: torch.Generator) -> float:
    """det exp(A) = exp(tr A)."""
    A = normal(n, n, generator=generator) / n**0.5
    found, expected = torch.linalg.det(torch.matrix_exp(A)), A.trace().exp()
    return relative(found, expected)


CHECKS: dict[str, Check] = {
    "gradients of ½ ‖X − U D V‖²": factored_gradients,
    "gradient and Hessian of the Rayleigh quotient": rayleigh_derivatives,
    "∇²ρ x = −∇ρ": hessian_along_the_vector,
    "exp(S⁻¹ A S) = S⁻¹ exp(A) S": exponential_of_a_similar_matrix,
    "exp(A) = Q diag(exp λ) Qᵀ, A symmetric": exponential_by_eigenvalues,
    "det exp(A) = exp(tr A)": determinant_of_the_exponential,
}

"""The Rayleigh quotient of a symmetric matrix and its derivatives.

Its stationary points are the eigenvectors, and its values there are the eigenvalues.
docs/calculus.md derives the derivatives. Results are detached from the graph of the arguments.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from eckart.errors import InputError
from eckart.linalg.admissible import admissible, admissible_matrix


@torch.no_grad()
def rayleigh_quotient(matrix: Tensor, vector: Tensor) -> Float[Tensor, ""]:
    """``ρ(x) = xᵀ A x / xᵀ x``; O(n²).

    Args:
        matrix: A, shape (n, n), real floating point, symmetric.
        vector: x, (n,), not zero.

    Raises:
        InputError: not symmetric, a zero vector, shapes that do not fit; NonFiniteError.

    Example:
        >>> rayleigh_quotient(torch.diag(torch.tensor([1.0, 3.0])), torch.ones(2))
        tensor(2.)
    """
    A, x = _admissible_pair(matrix, vector)
    return x @ A @ x / (x @ x)


@torch.no_grad()
def rayleigh_gradient(matrix: Tensor, vector: Tensor) -> Float[Tensor, " n"]:
    """``∇ρ = 2 (A x − ρ x) / xᵀ x``, orthogonal to x; O(n²).

    Args:
        matrix: A, shape (n, n), real floating point, symmetric.
        vector: x, (n,), not zero.

    Raises:
        InputError: not symmetric, a zero vector, shapes that do not fit; NonFiniteError.

    Source: Absil, Mahony and Sepulchre 2008, Optimization Algorithms on Matrix Manifolds, 2.1.1.

    Example:
        >>> rayleigh_gradient(torch.diag(torch.tensor([1.0, 3.0])), torch.ones(2))
        tensor([-1.,  1.])
    """
    A, x = _admissible_pair(matrix, vector)
    square = x @ x
    product = A @ x
    return 2 * (product - (x @ product / square) * x) / square


@torch.no_grad()
def rayleigh_hessian(matrix: Tensor, vector: Tensor) -> Float[Tensor, "n n"]:
    """``∇²ρ = 2 (A − ρ I − x ∇ρᵀ − ∇ρ xᵀ) / xᵀ x``; O(n²).

    At an eigenvector of unit length it is ``2 (A − λ I)``. At the one with the largest eigenvalue
    this is negative semidefinite.

    Args:
        matrix: A, shape (n, n), real floating point, symmetric.
        vector: x, (n,), not zero.

    Raises:
        InputError: not symmetric, a zero vector, shapes that do not fit; NonFiniteError.

    Example:
        >>> rayleigh_hessian(torch.diag(torch.tensor([1.0, 3.0])), torch.tensor([0.0, 1.0]))
        tensor([[-4.,  0.],
                [ 0.,  0.]])
    """
    A, x = _admissible_pair(matrix, vector)
    square = x @ x
    slope = rayleigh_gradient(A, x)
    cross = torch.outer(x, slope)
    shift = (x @ A @ x / square) * torch.eye(len(x), dtype=A.dtype, device=A.device)
    return 2 * (A - shift - cross - cross.mT) / square


def admissible_symmetric(matrix: Tensor, name: str = "matrix") -> Float[Tensor, "n n"]:
    """Check that a matrix is symmetric up to rounding, and return its symmetric part.

    Raises:
        InputError: it is not square or not symmetric, or `admissible_matrix` refuses it.
    """
    A = admissible_matrix(matrix, name)
    if A.shape[0] != A.shape[1]:
        raise InputError(f"{name} has shape {tuple(A.shape)}; expected a square matrix")
    apart, size = float((A - A.mT).abs().max()), float(A.abs().max())
    if apart > 1e3 * torch.finfo(A.dtype).eps * size:
        raise InputError(f"{name} is not symmetric: mirrored entries differ by {apart:.1e}")
    return (A + A.mT) / 2


def _admissible_pair(matrix: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
    A, x = admissible_symmetric(matrix), admissible(vector, "vector")
    if x.shape != A.shape[:1]:
        raise InputError(f"vector has shape {tuple(x.shape)}; expected ({len(A)},)")
    if not x.any():
        raise InputError("vector is zero, and the quotient is not defined there")
    return A, x.to(A.dtype)

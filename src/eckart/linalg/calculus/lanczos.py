"""The largest eigenvalue of a symmetric matrix, with a proof, and without an eigendecomposition.

The Lanczos process raises the Rayleigh quotient as fast as products with the matrix allow. The
value that it reaches is a lower bound. A Cholesky factorisation then proves the upper bound ``μ``:
``μ I − A`` has one if and only if ``μ`` exceeds every eigenvalue. It costs a small part of an
eigendecomposition.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from eckart.errors import InputError
from eckart.linalg.calculus.rayleigh import admissible_symmetric

_EVERY = 5  # products between two looks at the small problem
_MOST = 300  # most products in all; beyond it an eigendecomposition is cheaper


@dataclass(frozen=True)
class LargestEigenvalue:
    """Bounds of the largest eigenvalue.

    Attributes:
        lower: the Rayleigh quotient of ``vector``; the largest eigenvalue is not below it.
        upper: a number above the largest eigenvalue, safe as a Lipschitz constant.
        vector: of unit length, shape (n,).
        products: number of products with the matrix.
    """

    lower: float
    upper: float
    vector: Float64[Tensor, " n"]
    products: int


@torch.no_grad()
def largest_eigenvalue(
    matrix: Tensor, *, tolerance: float = 1e-6, generator: torch.Generator | None = None
) -> LargestEigenvalue:
    """``λ = maxₓ xᵀ A x / xᵀ x`` between two bounds ``tolerance · ‖A‖₂`` apart.

    Args:
        matrix: A, shape (n, n), real floating point, symmetric, definite or not.
        tolerance: relative to the largest absolute eigenvalue, at least 1e-12 and below 1.
        generator: random generator that draws the starting vectors.

    Returns:
        Both bounds and the vector, computed in float64, detached.

    Raises:
        InputError: the matrix is not symmetric or cannot be used. NonFiniteError for NaN and
            infinity.

    Cost: O(k·n² + n³/3) with k products, about 20 to 100.

    Source: Golub and Van Loan 2013, sections 10.1 and 4.2; Kuczyński and Woźniakowski 1992 for the
        random start.

    Example:
        >>> found = largest_eigenvalue(torch.tensor([[2.0, 1.0], [1.0, 2.0]]))
        >>> found.lower <= 3.0 + 1e-12, found.upper >= 3.0, found.upper - found.lower < 1e-5
        (True, True, True)
    """
    if not 1e-12 <= tolerance < 1:
        raise InputError(f"tolerance={tolerance}: expected at least 1e-12 and less than 1")
    A = admissible_symmetric(matrix).double()
    scale = float(A.abs().max())
    if scale == 0:
        return LargestEigenvalue(0.0, 0.0, torch.eye(len(A), dtype=A.dtype)[0], 0)
    found = _search(A / scale, tolerance, generator)
    return LargestEigenvalue(found.lower * scale, found.upper * scale, found.vector, found.products)


def _search(A: Tensor, tolerance: float, generator: torch.Generator | None) -> LargestEigenvalue:
    """Lanczos from random vectors until the upper bound holds; else an eigendecomposition."""
    products, wanted = 0, tolerance / 2
    while products < min(_MOST, 2 * len(A) + 2 * _EVERY):
        lower, vector, norm, used = _climb(A, wanted, _MOST - products, generator)
        products += used
        upper = lower + tolerance * norm
        if _exceeds_all(A, upper):
            return LargestEigenvalue(lower, upper, vector, products)
        wanted = wanted / 100  # stopped below the top: try again, with a smaller residual
    values, vectors = torch.linalg.eigh(A)
    rounding = len(A) * torch.finfo(A.dtype).eps * float(values.abs().max())
    top = float(values[-1])
    return LargestEigenvalue(top - rounding, top + rounding, vectors[:, -1], products)


def _climb(
    A: Tensor, wanted: float, most: int, generator: torch.Generator | None
) -> tuple[float, Tensor, float, int]:
    """Climb until the residual is at most ``wanted`` times the norm of A.

    Returns:
        The quotient, its vector, the largest norm seen so far, and the number of products.
    """
    n = len(A)
    vector = torch.randn(n, dtype=A.dtype, device=A.device, generator=generator)
    basis, images = [vector / vector.norm()], []
    while True:
        images.append(A @ basis[-1])
        rows = torch.stack(basis)
        rest = images[-1]
        for _ in range(2):
            rest = rest - rows.mT @ (rows @ rest)
        ended = float(rest.norm()) < 1e-13 * n or len(basis) >= min(n, most)
        if ended or len(basis) % _EVERY == 0:
            products = torch.stack(images)
            values, turn = torch.linalg.eigh(_symmetric(rows @ products.mT))
            top, norm = float(values[-1]), float(values.abs().max())
            residual = (products.mT @ turn[:, -1] - top * (rows.mT @ turn[:, -1])).norm()
            if ended or float(residual) <= wanted * norm:
                return top, rows.mT @ turn[:, -1], norm, len(basis)
        basis.append(rest / rest.norm())


def _exceeds_all(A: Tensor, bound: float) -> bool:
    """Whether every eigenvalue is below the bound, so ``bound I − A`` is positive definite."""
    shifted = -A
    shifted.diagonal().add_(bound)
    return not bool(torch.linalg.cholesky_ex(shifted)[1])


def _symmetric(gram: Tensor) -> Tensor:
    return (gram + gram.mT) / 2

"""Proximal gradient for the group lasso on single columns, as taught in courses."""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from eckart.linalg.group_sparsity.taught.history import History, read_quadratic, relative_change

TOLERANCE = 1e-8


def prox(m: Float64[Tensor, "h d"], t: float) -> Float64[Tensor, "h d"]:
    """The proximal operator of ``t Σ_j ‖M_j‖``: columns shrink by ``t``, short ones to zero.

    It is ``argmin_X ½ ‖X - M‖² + t Σ_j ‖X_j‖``, with the entries ``M_ij (1 - t / ‖M_j‖)`` if
    ``‖M_j‖ > t``, else 0.

    Args:
        m: a matrix, shape (h, d).
        t: length by which columns shrink, 0 or more.

    Cost: O(h d).

    Source: Parikh and Boyd 2014, Proximal Algorithms, section 6.5.4.

    Example:
        >>> import torch
        >>> from eckart.linalg import prox
        >>> prox(torch.tensor([[3.0, 0.3], [4.0, 0.4]]).double(), 1.0).tolist()
        [[2.4000000000000004, 0.0], [3.2, 0.0]]
    """
    norms = torch.linalg.vector_norm(m, dim=0)
    factors = torch.where(norms > t, 1 - t / norms.clamp_min(1e-300), 0.0)
    return m * factors


def proximal_gradient(
    gram: Tensor, cross: Tensor, alpha: float, *, max_iterations: int = 100_000
) -> History:
    """Proximal gradient: ``M ← prox_{alpha/L}(M - ∇f(M)/L)`` from zero.

    This minimises ``½ tr(M R Mᵀ) - tr(B Mᵀ) + alpha Σ_j ‖M_j‖``. Here ``∇f(M) = -(B - M R)``, and
    ``L`` is the largest eigenvalue of ``R``. It stops when
    ``‖M - M_prev‖ / (‖M‖ + 1e-10) ≤ 1e-8``. This function is for teaching; to solve a problem, use
    `group_lasso`.

    Args:
        gram: ``R``, shape (in, in).
        cross: ``B``, shape (out, in).
        alpha: the penalty, 0 or more.
        max_iterations: largest number of iterations.

    Returns:
        The solution and the objective after each iteration, which never rises.

    Raises:
        InputError: as in `group_lasso`.
        NonFiniteError: NaN or infinity.

    Cost: O(h d²) per iteration; the error falls as 1/k.

    Source: Beck and Teboulle 2009, section 3 (ISTA).

    Example:
        >>> import torch
        >>> from eckart.linalg import proximal_gradient
        >>> history = proximal_gradient(torch.eye(2).double(), torch.ones(1, 2).double(), 0.5)
        >>> history.solution.tolist(), history.converged
        ([[0.5, 0.5]], True)
    """
    problem = read_quadratic(gram, cross, alpha)
    step = 1 / problem.curvature()
    m = torch.zeros_like(problem.cross)
    product = torch.zeros_like(m)
    losses: list[float] = []
    for _ in range(max_iterations):
        previous, gradient = m, product - problem.cross
        m = prox(m - step * gradient, alpha * step)
        product = m @ problem.gram
        losses.append(problem.loss(m, product))
        if relative_change(m, previous) <= TOLERANCE:
            return History(m, tuple(losses), converged=True)
    return History(m, tuple(losses), converged=False)

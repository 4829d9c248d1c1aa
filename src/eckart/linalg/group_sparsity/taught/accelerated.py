"""FISTA for the group lasso on single columns, as taught in courses."""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from eckart.errors import InputError
from eckart.linalg.group_sparsity.checks import read_matrix
from eckart.linalg.group_sparsity.taught.history import (
    History,
    Quadratic,
    read_quadratic,
    relative_change,
)
from eckart.linalg.group_sparsity.taught.proximal import TOLERANCE, prox


def fista(
    gram: Tensor,
    cross: Tensor,
    alpha: float,
    *,
    q: float = 0.0,
    start: Tensor | None = None,
    max_iterations: int = 100_000,
) -> History:
    """Accelerated proximal gradient with momentum ``u = (k - 1) / (k + q + 2)``.

    This minimises ``½ tr(M R Mᵀ) - tr(B Mᵀ) + alpha Σ_j ‖M_j‖`` by ``a = M + u (M - M_prev)`` and
    ``M ← prox_{alpha/L}(a - ∇f(a)/L)``. It stops when ``δ ≤ 1e-8``, where δ starts at 1 and every
    iteration sets ``δ ← ½ δ + ‖M - M_prev‖ / (‖M‖ + 1e-10)``. This function is for teaching; to
    solve a problem, use `group_lasso`.

    Args:
        gram: ``R``, shape (in, in).
        cross: ``B``, shape (out, in).
        alpha: the penalty, 0 or more.
        q: delays the momentum, 0 or more; 0 is the classical sequence.
        start: the first M, shape (out, in); zero by default.
        max_iterations: largest number of iterations.

    Returns:
        The solution and the objective after each iteration, which may rise for a while.

    Raises:
        InputError: as in `group_lasso`; a start of the wrong shape; a negative q.
        NonFiniteError: NaN or infinity.

    Cost: O(h d²) per iteration; the error falls as 1/k².

    Source: Beck and Teboulle 2009, section 4; Chambolle and Dossal 2015 for the sequence.

    Example:
        >>> import torch
        >>> from eckart.linalg import fista
        >>> history = fista(torch.eye(2).double(), torch.ones(1, 2).double(), 0.5)
        >>> history.solution.tolist(), history.converged
        ([[0.5, 0.5]], True)
    """
    problem = read_quadratic(gram, cross, alpha)
    if not q >= 0:
        raise InputError(f"q = {q}: expected 0 or more")
    m = torch.zeros_like(problem.cross)
    if start is not None:
        m = read_matrix("start", start)
        if m.shape != problem.cross.shape:
            expected = tuple(problem.cross.shape)
            raise InputError(f"start: shape {tuple(m.shape)}, expected {expected}")
    return accelerate(problem, m, q, max_iterations)


def accelerate(
    problem: Quadratic, m: Float64[Tensor, "h d"], q: float, max_iterations: int
) -> History:
    """The iteration itself, starting from ``m``; one product with ``R`` per iteration."""
    step = 1 / problem.curvature()
    previous, product, previous_product = m, m @ problem.gram, m @ problem.gram
    losses: list[float] = []
    delta = 1.0
    for k in range(1, max_iterations + 1):
        u = (k - 1) / (k + q + 2)
        ahead = m + u * (m - previous)
        gradient = product + u * (product - previous_product) - problem.cross
        previous, previous_product = m, product
        m = prox(ahead - step * gradient, problem.alpha * step)
        product = m @ problem.gram
        losses.append(problem.loss(m, product))
        delta = 0.5 * delta + relative_change(m, previous)
        if delta <= TOLERANCE:
            return History(m, tuple(losses), converged=True)
    return History(m, tuple(losses), converged=False)

"""Improve given factors of the weighted problem, by alternating or by gradient steps.

The closed form is `output_projection`. These two can do what it cannot: start from factors that are
nearly right, stop early, and change one factor at a time.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eckart.errors import EckartWarning
from eckart.linalg.admissible import check_count
from eckart.linalg.calculus.factor_gradients import admissible_problem

_RTOL = 1e-13  # smaller eigenvalues of a Gram matrix, relative to its largest, are not inverted
Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class FactorFit:
    """The factors that the iteration ended with, and its losses.

    Attributes:
        left: U, shape (out, rank), in the dtype of the weight.
        right: V, shape (rank, in), in the same dtype.
        losses: ``½ tr(G E A Eᵀ)`` at the start and after every step; they never rise.
        slope: first-order decrease of one more preconditioned gradient step, relative to the loss
            at M = 0.
    """

    left: Float[Tensor, "out rank"]
    right: Float[Tensor, "rank in"]
    losses: tuple[float, ...]
    slope: float


@torch.no_grad()
def alternating_least_squares(
    weight: Tensor,
    a: Tensor,
    g: Tensor,
    left: Tensor,
    right: Tensor,
    *,
    steps: int = 100,
    tolerance: float = 1e-12,
) -> FactorFit:
    """Minimise ``½ tr(G (W − U V) A (W − U V)ᵀ)`` over U and over V in turn.

    The updates are ``U ← W A Vᵀ (V A Vᵀ)⁻¹`` and ``V ← (Uᵀ G U)⁻¹ Uᵀ G W``, where the gradients
    vanish. G cancels in the first and A in the second. If the start is not orthogonal to a leading
    component, the iteration finds the global minimum, and each step multiplies the excess loss by
    ``(σᵣ₊₁/σᵣ)⁴``.

    Args:
        weight: W, shape (out, in), real floating point.
        a: A, (in, in), symmetric positive semidefinite.
        g: G, (out, out), symmetric positive semidefinite.
        left: the U to start from, (out, r).
        right: the V to start from, (r, in).
        steps: largest number of steps.
        tolerance: the iteration ends when `FactorFit.slope` is not above it.

    Returns:
        The factors, computed in float64, detached.

    Raises:
        InputError: shapes that do not fit, unusable dtypes. NonFiniteError for NaN and infinity.

    Warns:
        EckartWarning: the slope was still above the tolerance after the last step.

    Cost: O(steps·out·in·(out + in)).

    Source: Srebro and Jaakkola 2003; Gabriel and Zamir 1979.

    Example:
        >>> W, eye = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.eye(2)
        >>> fit = alternating_least_squares(W, eye, eye, torch.ones(2, 1), torch.ones(1, 2))
        >>> round(fit.losses[-1], 6)
        0.5
    """
    W, A, G, U, V = (part.double() for part in admissible_problem(weight, a, g, left, right))

    def step(U: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
        U = W @ A @ V.mT @ _inverse(V @ A @ V.mT)
        return U, _inverse(U.mT @ G @ U) @ U.mT @ G @ W

    return _iterate(_Weighted(W, A, G), U, V, step, steps, tolerance, weight.dtype)


@torch.no_grad()
def gradient_refinement(
    weight: Tensor,
    a: Tensor,
    g: Tensor,
    left: Tensor,
    right: Tensor,
    *,
    steps: int = 300,
    tolerance: float = 1e-12,
) -> FactorFit:
    """Minimise the same loss by gradient steps in both factors at once.

    Each gradient is preconditioned by its factor's own block of the Hessian, so the steps do not
    depend on how the product is split. The line search is exact, because along a direction the loss
    is a polynomial of degree four.

    Args:
        weight: W, shape (out, in), real floating point.
        a: A, (in, in), symmetric positive semidefinite.
        g: G, (out, out), symmetric positive semidefinite.
        left: the U to start from, (out, r).
        right: the V to start from, (r, in).
        steps: largest number of steps.
        tolerance: the iteration ends when `FactorFit.slope` is not above it.

    Returns:
        The factors, computed in float64, detached.

    Raises:
        InputError: shapes that do not fit, unusable dtypes. NonFiniteError for NaN and infinity.

    Warns:
        EckartWarning: the slope was still above the tolerance after the last step.

    Cost: O(steps·out·in·(out + in)).

    Source: Tong, Ma and Chi 2021 (2005.08898), equation 3, with an exact line search.

    Example:
        >>> W, eye = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.eye(2)
        >>> fit = gradient_refinement(W, eye, eye, torch.ones(2, 1), torch.ones(1, 2))
        >>> round(fit.losses[-1], 6)
        0.5
    """
    W, A, G, U, V = (part.double() for part in admissible_problem(weight, a, g, left, right))
    problem = _Weighted(W, A, G)

    def step(U: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
        dU, dV, _ = problem.direction(U, V)
        length = problem.best_length(U, V, dU, dV)
        return U + length * dU, V + length * dV

    return _iterate(problem, U, V, step, steps, tolerance, weight.dtype)


class _Weighted:
    """The loss, its preconditioned descent direction and its minimum along a line."""

    def __init__(self, W: Tensor, A: Tensor, G: Tensor) -> None:
        self.W, self.A, self.G = W, (A + A.mT) / 2, (G + G.mT) / 2
        self.whole = self.inner(W, W) / 2

    def inner(self, left: Tensor, right: Tensor) -> float:
        """``tr(G L A Rᵀ)``."""
        return float(((self.G @ left @ self.A) * right).sum())

    def direction(self, U: Tensor, V: Tensor) -> tuple[Tensor, Tensor, float]:
        """The negative preconditioned gradients, and the first-order decrease along them."""
        E = self.W - U @ V
        dU = E @ self.A @ V.mT @ _inverse(V @ self.A @ V.mT)
        dV = _inverse(U.mT @ self.G @ U) @ U.mT @ self.G @ E
        return dU, dV, self.inner(E, dU @ V + U @ dV)

    def best_length(self, U: Tensor, V: Tensor, dU: Tensor, dV: Tensor) -> float:
        """The t of least ``½ ‖E − t F − t² H‖²`` in the metric; U V changes by t F + t² H."""
        E, F, H = self.W - U @ V, dU @ V + U @ dV, dU @ dV
        products = {
            "EF": self.inner(E, F),
            "EH": self.inner(E, H),
            "FF": self.inner(F, F),
            "FH": self.inner(F, H),
            "HH": self.inner(H, H),
        }
        slopes = [
            2 * products["HH"],
            3 * products["FH"],
            products["FF"] - 2 * products["EH"],
            -products["EF"],
        ]
        loss = np.polyint(slopes)
        roots = [float(root.real) for root in np.roots(slopes) if abs(root.imag) < 1e-9]
        return min([0.0, *roots], key=lambda t: float(np.polyval(loss, t)))


def _iterate(
    problem: _Weighted,
    U: Tensor,
    V: Tensor,
    step: Step,
    steps: int,
    tolerance: float,
    dtype: torch.dtype,
) -> FactorFit:
    """Take steps until the slope is not above the tolerance."""
    check_count(steps, "steps")
    scale = max(problem.whole, 1e-300)
    losses, slope = [], math.inf
    for taken in range(steps + 1):
        E = problem.W - U @ V
        losses.append(problem.inner(E, E) / 2)
        slope = problem.direction(U, V)[2] / scale
        if slope <= tolerance or taken == steps:
            break
        U, V = step(U, V)
    if slope > tolerance:
        warnings.warn(
            f"stopped after {steps} steps at a relative slope of {slope:.1e} > {tolerance:.1e}",
            EckartWarning,
            stacklevel=3,
        )
    return FactorFit(U.to(dtype), V.to(dtype), tuple(losses), slope)


def _inverse(gram: Tensor) -> Tensor:
    """Pseudo-inverse of a small positive semidefinite matrix; directions of no length drop out."""
    inverse: Tensor = torch.linalg.pinv((gram + gram.mT) / 2, hermitian=True, rtol=_RTOL)
    return inverse

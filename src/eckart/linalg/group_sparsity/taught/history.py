"""The result of the textbook methods, and the objective that they share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from eckart.errors import InputError
from eckart.linalg.group_sparsity.checks import Moments, read_alpha, read_consumers


@dataclass(frozen=True)
class History:
    """A solution, and the objective on the way to it.

    Attributes:
        solution: the last ``M``.
        losses: the objective after each iteration.
        converged: whether the method's own rule stopped it, not the limit of iterations.
    """

    solution: Float64[Tensor, "out in"]
    losses: tuple[float, ...]
    converged: bool

    @property
    def iterations(self) -> int:
        """Number of iterations taken."""
        return len(self.losses)


@dataclass(frozen=True)
class Quadratic:
    """``½ tr(M R Mᵀ) - tr(B Mᵀ) + alpha Σ_j ‖M_j‖`` over single columns."""

    gram: Float64[Tensor, "d d"]
    cross: Float64[Tensor, "h d"]
    alpha: float

    def loss(self, m: Float64[Tensor, "h d"], product: Float64[Tensor, "h d"]) -> float:
        """The objective at ``M``, given ``M R``."""
        smooth = float(((0.5 * product - self.cross) * m).sum())
        return smooth + self.alpha * float(m.norm(dim=0).sum())

    def curvature(self) -> float:
        """``L``, the largest eigenvalue of ``R``; O(d³)."""
        largest = float(torch.linalg.eigvalsh(self.gram)[-1]) if len(self.gram) else 0.0
        return max(largest, 1e-300)


def read_quadratic(gram: Tensor, cross: Tensor, alpha: float) -> Quadratic:
    """Check the arguments of the textbook methods."""
    if not isinstance(gram, Tensor):
        raise InputError("gram: expected one tensor; for several consumers use group_lasso")
    read: Moments = read_consumers(gram, cross, None, ())[0]
    return Quadratic(read.gram, read.cross, read_alpha(alpha))


def relative_change(m: Float64[Tensor, "h d"], previous: Float64[Tensor, "h d"]) -> float:
    """``‖M - M_prev‖ / (‖M‖ + 1e-10)``."""
    return float((m - previous).norm() / (m.norm() + 1e-10))

"""The duality gap of the whole problem: how far from the optimum a matrix can be.

The dual of the group lasso is ``max_Z -½ tr(Z R Zᵀ)`` over all ``Z`` whose residual ``B - Z R`` has
group norms of at most ``alpha w_j``. The residual of least squares is about zero, so a mixture
``Z = s M + (1 - s) M_ls`` is feasible for some ``s`` close to 1. The residual of least squares is
computed, not assumed to be zero. The bound therefore holds for rank-deficient ``R`` and for ``B``
outside its range.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from eckart.linalg.group_sparsity.problem import Problem, sum_groups
from eckart.linalg.regression import least_squares

_DAMPING = 1e-10  # damping of least squares, relative to the largest diagonal entry


@dataclass(frozen=True)
class Point:
    """The nonzero columns of a matrix, and its residual ``B - M R``, per consumer."""

    columns: tuple[Int64[Tensor, " _"], ...]
    compact: tuple[Float64[Tensor, "_ _"], ...]
    residuals: tuple[Float64[Tensor, "_ _"], ...]


@dataclass(frozen=True)
class Certificate:
    """A least-squares solution, computed once per problem; every gap then costs O(h d).

    Attributes:
        norms: group norms of ``M_ls``.
        fits: ``M_ls R`` per consumer.
        residuals: ``B - M_ls R`` per consumer.
        squares: squared group norms of the residuals.
        energy: ``tr(M_ls R M_lsᵀ)``.
        scale: ``-f(M_ls)``, at most ``½ tr(B R⁺ Bᵀ)``; gaps are relative to it.
    """

    norms: Float64[Tensor, " groups"]
    fits: tuple[Float64[Tensor, "_ _"], ...]
    residuals: tuple[Float64[Tensor, "_ _"], ...]
    squares: Float64[Tensor, " groups"]
    energy: float
    scale: float


def certify(problem: Problem) -> Certificate:
    """Solve least squares with a little damping; O(d³ + h d²)."""
    solutions, fits, residuals, energy, scale = [], [], [], 0.0, 0.0
    for consumer in problem.consumers:
        solved = least_squares(consumer.cross, lifted(consumer.gram, _DAMPING))
        fit = solved @ consumer.gram
        solutions.append(solved)
        fits.append(fit)
        residuals.append(consumer.cross - fit)
        energy += float((fit * solved).sum())
        scale += float((consumer.cross * solved).sum() - 0.5 * (fit * solved).sum())
    norms, squares = problem.group_squares(solutions).sqrt(), problem.group_squares(residuals)
    return Certificate(norms, tuple(fits), tuple(residuals), squares, energy, scale)


def lifted(gram: Float64[Tensor, "d d"], damping: float) -> Float64[Tensor, "d d"]:
    """``R + ε I`` with ε relative to the largest diagonal entry."""
    raised = gram.clone()
    if len(gram):
        raised.diagonal().add_(damping * gram.diagonal().max())
    return raised


def floor(problem: Problem) -> float:
    """The minimum of least squares, a lower bound of the objective; O(d³ + h d²)."""
    total = 0.0
    for consumer in problem.consumers:
        lower = torch.linalg.cholesky(consumer.gram)
        half = torch.linalg.solve_triangular(lower, consumer.cross.mT, upper=False)
        total -= 0.5 * float(half.square().sum())
    return total


def objective(problem: Problem, point: Point, alpha: float) -> float:
    """``½ tr(M R Mᵀ) - tr(B Mᵀ) + alpha Σ w ‖M_j‖``; O(h · columns)."""
    smooth = 0.0
    squares = []
    for consumer, columns, m, residual in _parts(problem, point):
        smooth -= 0.5 * float(((consumer.cross + residual)[:, columns] * m).sum())
        squares.append(_spread(m.square().sum(0), columns, consumer.cross.shape[1]))
    norms = sum_groups(squares, problem.consumers, len(problem.weights)).sqrt()
    return smooth + alpha * float((problem.weights * norms).sum())


def gap(problem: Problem, certificate: Certificate, point: Point, alpha: float) -> float:
    """An absolute upper bound of ``objective - optimum``; O(h d)."""
    primal = objective(problem, point, alpha)
    share = _feasible_share(problem, certificate, point.residuals, alpha)
    if share is None:
        return max(primal - floor(problem), 0.0)
    mixed, own = 0.0, 0.0
    for index, (consumer, columns, m, residual) in enumerate(_parts(problem, point)):
        mixed += float((certificate.fits[index][:, columns] * m).sum())
        own += float(((consumer.cross - residual)[:, columns] * m).sum())
    rest = 1 - share
    dual = -0.5 * (rest**2 * certificate.energy + 2 * rest * share * mixed + share**2 * own)
    return max(primal - dual, 0.0)


def _feasible_share(
    problem: Problem,
    certificate: Certificate,
    residuals: Sequence[Float64[Tensor, "_ _"]],
    alpha: float,
) -> float | None:
    """The largest ``s`` ≤ 1 with ``‖s g_j + (1 - s) r_j‖ ≤ alpha w_j`` for all groups, if any."""
    inner = [(g * r).sum(0) for g, r in zip(residuals, certificate.residuals, strict=True)]
    cross = sum_groups(inner, problem.consumers, len(problem.weights))
    square = problem.group_squares(residuals) - 2 * cross + certificate.squares
    half = cross - certificate.squares  # ‖r + s (g - r)‖² = s² square + 2 s half + squares
    free = certificate.squares - (alpha * problem.weights).square()
    discriminant = half.square() - square * free
    moving = square > 0
    if (discriminant < 0).any() or (free[~moving] > 0).any():
        return None
    half, square, root = half[moving], square[moving], discriminant[moving].sqrt()
    most = min(1.0, float(((root - half) / square).min())) if len(square) else 1.0
    least = float(((-root - half) / square).max()) if len(square) else 0.0
    return most if most >= max(least, 0.0) and math.isfinite(most) else None


def _parts(problem: Problem, point: Point) -> Iterator[tuple[Any, ...]]:
    return zip(problem.consumers, point.columns, point.compact, point.residuals, strict=True)


def _spread(
    values: Float64[Tensor, " _"], columns: Int64[Tensor, " _"], width: int
) -> Float64[Tensor, " _"]:
    return values.new_zeros(width).index_copy_(0, columns, values)

"""The group lasso on a few groups: projected Newton in one variable per group.

With ``l_j ‖M_j‖ = min_δ ½ (‖M_j‖² / δ_j + l_j² δ_j)``, where ``l_j = alpha w_j``, the matrix ``M``
can be eliminated. The remaining objective is convex in ``δ ≥ 0`` and has one variable per group,
however many rows there are:

    φ(δ) = ½ Σ l_j² δ_j - ½ tr(B (R + Δ⁻¹)⁻¹ Bᵀ),     M = B (R + Δ⁻¹)⁻¹ = G Δ,  G = B - M R
    ∂φ/∂δ_j = ½ (l_j² - ‖G_j‖²),     ∂²φ/∂δ_j∂δ_k = Σ (GᵀG ∘ Q) over the block (j, k)

with ``Q = R - R (R + Δ⁻¹)⁻¹ R``. Only ``I + Δ^½ R Δ^½`` is ever inverted, and it is never singular.
For one group of one column ``1 / ‖G‖`` is linear in ``δ``, so Newton solves ``1 / ‖G_j‖ = 1 / l_j``
rather than ``‖G_j‖² = l_j²``. The Hessian is the same and only the right side changes, but it takes
fewer steps from a distant start.

Source: Bach et al. 2012 (1108.0775), section 1.4.2, for the variational form; Bertsekas 1982 for
the projection; Moré and Sorensen 1983, section 3, for the secular equation in reciprocal form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

_HALVINGS = 40
_RIDGE = 1e-11  # added to the Hessian of unit diagonal, which duplicate columns make singular
_DECREASE = 1e-4  # Armijo's constant
_PATIENCE = 2  # most steps in a row that change neither φ nor the violation
_RESOLUTION = 4e-15  # relative change of φ that rounding hides

Scales = Float64[Tensor, " groups"]


@dataclass(frozen=True)
class Block:
    """One consumer's quadratic on the working set.

    Attributes:
        gram: ``R`` of the columns.
        cross: ``B`` of the columns; its rows may be rotated so that there are fewer.
        owner: the group of each column, counted within the working set.
        single: whether column j is group j, so that no sums over blocks are needed.
    """

    gram: Float64[Tensor, "d d"]
    cross: Float64[Tensor, "r d"]
    owner: Int64[Tensor, " d"]
    single: bool


@dataclass(frozen=True)
class Minimum:
    """Where Newton's method stopped.

    Attributes:
        scales: ``δ``; exactly zero for pruned groups.
        violation: largest ``|‖G_j‖ / l_j - 1|``; a group at zero counts only if it is above its
            limit.
        steps: number of Newton steps.
    """

    scales: Scales
    violation: float
    steps: int


@dataclass(frozen=True)
class _Value:
    """``φ`` at some scales, with the factorisations that it needed."""

    phi: float
    scales: Scales
    lowers: list[Float64[Tensor, "_ _"]]
    halves: list[Float64[Tensor, "_ _"]]


def projected_newton(
    blocks: Sequence[Block], limits: Scales, scales: Scales, tol: float, max_steps: int
) -> Minimum:
    """Minimise ``φ`` over ``δ ≥ 0`` until no group violates optimality by more than ``tol``.

    Args:
        blocks: one per consumer.
        limits: ``alpha w_j``, positive.
        scales: the start.
        tol: bound of the largest relative violation.
        max_steps: largest number of Newton steps.

    Cost: about 9 d³ operations per step and consumer, with d columns in the working set.
    """
    value = _evaluate(blocks, limits, scales)
    steps, least, idle = 0, float("inf"), 0
    while True:
        solved = [_half_solved(b, value, i) for i, b in enumerate(blocks)]
        gradients = [
            b.cross - h.mT @ z for b, h, z in zip(blocks, value.halves, solved, strict=True)
        ]
        squares = _summed(blocks, [g.square().sum(0) for g in gradients], len(limits))
        violation = _violation(squares, limits, value.scales)
        idle = 0 if violation < 0.5 * least else idle + 1
        least = min(least, violation)
        if violation <= tol or steps >= max_steps or idle > _PATIENCE:
            return Minimum(value.scales, violation, steps)
        hessian = _hessian(blocks, gradients, solved, len(limits))
        following = _step(blocks, limits, value, squares, hessian)
        steps += 1
        if following is None:
            return Minimum(value.scales, violation, steps)
        if value.phi - following.phi > _RESOLUTION * abs(value.phi):
            idle = 0  # perhaps slow, but not yet limited by rounding
        value = following


def _violation(squares: Scales, limits: Scales, scales: Scales) -> float:
    """The largest violation of optimality, relative to the limits."""
    excess = squares.sqrt() / limits - 1
    return float(torch.where(scales > 0, excess.abs(), excess.clamp_min(0)).max())


def _evaluate(blocks: Sequence[Block], limits: Scales, scales: Scales) -> _Value:
    """``φ``; infinite if rounding makes a factorisation fail."""
    phi = 0.5 * float((limits.square() * scales).sum())
    lowers, halves = [], []
    for block in blocks:
        root = scales.sqrt()[block.owner]
        normal = root[:, None] * block.gram * root
        normal.diagonal().add_(1)
        lower, info = torch.linalg.cholesky_ex(normal)
        half = torch.linalg.solve_triangular(lower, (block.cross * root).mT, upper=False)
        phi = float("inf") if info else phi - 0.5 * float(half.square().sum())
        lowers.append(lower)
        halves.append(half)
    return _Value(phi, scales, lowers, halves)


def _half_solved(block: Block, value: _Value, index: int) -> Float64[Tensor, "d d"]:
    """``L⁻¹ Δ^½ R``, from which ``M R`` and ``R (R + Δ⁻¹)⁻¹ R`` follow as products."""
    root = value.scales.sqrt()[block.owner]
    right = root[:, None] * block.gram
    half: Tensor = torch.linalg.solve_triangular(value.lowers[index], right, upper=False)
    return half


def _hessian(
    blocks: Sequence[Block],
    gradients: Sequence[Float64[Tensor, "_ _"]],
    solved: Sequence[Float64[Tensor, "_ _"]],
    count: int,
) -> Float64[Tensor, "groups groups"]:
    """Second derivatives of ``φ``, a positive semidefinite sum of Hadamard products."""
    total = gradients[0].new_zeros(count, count)
    for block, gradient, half in zip(blocks, gradients, solved, strict=True):
        product = (gradient.mT @ gradient).mul_(block.gram - half.mT @ half)
        if block.single:
            total += product
        else:
            rows = product.new_zeros(count, len(block.owner)).index_add_(0, block.owner, product)
            total.index_add_(1, block.owner, rows)
    return total


def _step(
    blocks: Sequence[Block],
    limits: Scales,
    value: _Value,
    squares: Scales,
    hessian: Float64[Tensor, "groups groups"],
) -> _Value | None:
    """One step along the projected direction that lowers ``φ``; None if rounding prevents it."""
    gradient = 0.5 * (limits.square() - squares)
    doomed = value.scales * hessian.diagonal() <= gradient  # its own Newton step reaches zero
    free = ~((gradient >= 0) & ((value.scales == 0) | doomed))
    secular = squares * (squares.sqrt() / limits - 1)
    for right in (secular, -gradient):
        direction = _direction(hessian, right, free) - torch.where(free, 0.0, value.scales)
        slope = float((gradient * direction).sum())
        if slope < 0:
            found = _search(blocks, limits, value, gradient, direction)
            if found is not None:
                return found
    return None


def _direction(
    hessian: Float64[Tensor, "groups groups"], right: Scales, free: Bool[Tensor, " groups"]
) -> Scales:
    """The Newton direction of the free variables; zero elsewhere."""
    direction = torch.zeros_like(right)
    if not free.any():
        return direction
    kept = hessian[free][:, free]
    unit = kept.diagonal().clamp_min(1e-300).rsqrt()
    kept = unit[:, None] * kept * unit
    ridge = _RIDGE
    while True:
        kept.diagonal().add_(ridge)
        lower, info = torch.linalg.cholesky_ex(kept)
        if not info or ridge > 1:
            break
        ridge *= 100
    solved = torch.cholesky_solve((unit * right[free])[:, None], lower)[:, 0]
    direction[free] = unit * solved
    return direction


def _search(
    blocks: Sequence[Block], limits: Scales, value: _Value, gradient: Scales, direction: Scales
) -> _Value | None:
    """Backtrack along the projected direction until ``φ`` falls enough; None if it never does."""
    length = 1.0
    for _ in range(_HALVINGS):
        moved = (value.scales + length * direction).clamp_min(0)
        tried = _evaluate(blocks, limits, moved)
        promised = _DECREASE * float((gradient * (moved - value.scales)).sum())
        if tried.phi <= value.phi + promised + _RESOLUTION * abs(value.phi):
            return tried
        length *= 0.5
    return None


def _summed(blocks: Sequence[Block], values: Sequence[Float64[Tensor, " _"]], count: int) -> Scales:
    """Sum one value per column over the columns of each group and over consumers."""
    total = values[0].new_zeros(count)
    for block, value in zip(blocks, values, strict=True):
        total.index_add_(0, block.owner, value)
    return total

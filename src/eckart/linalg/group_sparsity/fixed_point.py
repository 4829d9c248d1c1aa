"""The group lasso when almost nothing is pruned: a fixed-point iteration from least squares.

Alternating minimisation in the scales of ``newton.py`` is ``δ_j ← δ_j ‖G_j‖ / l_j``, with
``‖G_j‖ = ‖M_j‖ / δ_j``. If the penalty is a small part of the objective, this contracts quickly
from least squares, and a sweep costs a tenth of a Newton step. Anderson mixing of the logarithms
makes it faster still. It is slow if some groups go to zero, and then it stops at once.

Source: Argyriou, Evgeniou and Pontil 2008; Anderson 1965 for the mixing, as in Walker and Ni 2011.
"""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from eckart.linalg.group_sparsity.problem import Problem, sum_groups

_SWEEPS = 8
_DOOMED = 0.4  # a group with log(‖G_j‖ / l_j) below minus this will go to zero
_CONTRACTION = 0.5  # give up if a sweep contracts less than this

Scales = Float64[Tensor, " groups"]


def dense_scales(problem: Problem, scales: Scales, limits: Scales, tol: float) -> Scales | None:
    """Scales at which every group that is not zero meets its limit to within ``tol``.

    Args:
        problem: reduced and damped.
        scales: the scales of least squares, ``‖M_j‖ / l_j``.
        limits: ``alpha w_j``.
        tol: bound of the largest relative violation.

    Returns:
        The scales after the last sweep, even if they do not meet ``tol``; None if groups go to
        zero or the iteration is slow.

    Cost: O(d³ / 3 + h d²) per sweep, at most 8 sweeps.
    """
    kept = scales > 1e-10 * scales.max()
    points: list[Tensor] = []
    steps: list[Tensor] = []
    worst = float("inf")
    for _ in range(_SWEEPS):
        step = (_residual_norms(problem, scales) / limits)[kept].log()
        if float(step.min()) < -_DOOMED or float(step.abs().max()) > _CONTRACTION * worst:
            return None
        worst = float(step.abs().max())
        points.append(scales[kept].log())
        steps.append(step)
        scales = torch.zeros_like(scales)
        scales[kept] = _mixed(points[-3:], steps[-3:]).exp()
        if worst * _CONTRACTION**2 <= tol:
            break
    return scales


def _residual_norms(problem: Problem, scales: Scales) -> Scales:
    """``‖G_j‖ = ‖M_j‖ / δ_j`` of the groups that are not zero."""
    squares = []
    for consumer in problem.consumers:
        root = scales.sqrt()[consumer.owner]
        normal = root[:, None] * consumer.gram * root
        normal.diagonal().add_(1)
        lower = torch.linalg.cholesky_ex(normal)[0]
        solved = torch.cholesky_solve((consumer.cross * root).mT, lower)
        squares.append(solved.square().sum(1) * root.square())
    norms = sum_groups(squares, problem.consumers, len(scales)).sqrt()
    return norms / scales.clamp_min(1e-300)


def _mixed(points: list[Tensor], steps: list[Tensor]) -> Tensor:
    """The next point: the combination of the last ones with the smallest step, plus that step."""
    moved = points[-1] + steps[-1]
    if len(points) == 1:
        return moved
    differences = torch.stack([steps[-1] - step for step in steps[:-1]], 1)
    shifts = torch.stack([points[-1] - point for point in points[:-1]], 1) + differences
    weights = torch.linalg.pinv(differences) @ steps[-1]
    mixed: Tensor = moved - shifts @ weights
    return mixed

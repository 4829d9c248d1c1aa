"""The group lasso where hardly anything is pruned: a fixed point from least squares.

Alternating minimisation in the scales of ``newton.py`` is ``δ_j ← δ_j ‖G_j‖ / l_j``, with
``‖G_j‖ = ‖M_j‖ / δ_j``. Where the penalty is a small part of the objective it contracts quickly
from least squares, and a sweep costs a tenth of a Newton step. Anderson's mixing of the logarithms
makes it quicker still. Where groups are bound for zero it is slow, and is given up at once.

Source: Argyriou, Evgeniou and Pontil 2008; mixing of Anderson 1965, as in Walker and Ni 2011.
"""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from eckart.linalg.group_sparsity.problem import Problem, sum_groups

_SWEEPS = 8
_DOOMED = 0.4  # a group this much below its limit, relatively, is bound for zero
_CONTRACTION = 0.5  # slower than this it is given up

Scales = Float64[Tensor, " groups"]


def dense_scales(problem: Problem, scales: Scales, limits: Scales, tol: float) -> Scales | None:
    """Scales at which every group that is not zero meets its limit to within ``tol``.

    Args:
        problem: reduced and damped.
        scales: of least squares, ``‖M_j‖ / l_j``.
        limits: ``alpha w_j``.
        tol: on the largest relative violation.

    Returns:
        None where groups are bound for zero. At the limit of sweeps, what was reached.

    Cost: O(d³ / 3 + h d²) per sweep, at most 9.
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
    """The next point: the combination of the last ones whose steps cancel best, and its step."""
    moved = points[-1] + steps[-1]
    if len(points) == 1:
        return moved
    differences = torch.stack([steps[-1] - step for step in steps[:-1]], 1)
    shifts = torch.stack([points[-1] - point for point in points[:-1]], 1) + differences
    weights = torch.linalg.pinv(differences) @ steps[-1]
    mixed: Tensor = moved - shifts @ weights
    return mixed

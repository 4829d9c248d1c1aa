"""The group lasso on all groups: Newton's method on a working set that grows.

A group enters when its residual exceeds its limit, and leaves when Newton's method sends it to
zero. At a new penalty the active groups are solved first, so that few others still violate it. A
cold start goes down a ladder of penalties and solves each one loosely, so that the sets stay small.
The duality gap of the whole problem decides when to stop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from eckart.linalg.group_sparsity.duality import Certificate, Point, gap, objective
from eckart.linalg.group_sparsity.fixed_point import dense_scales
from eckart.linalg.group_sparsity.newton import Block, projected_newton
from eckart.linalg.group_sparsity.problem import Consumer, Problem
from eckart.linalg.group_sparsity.result import GroupLassoResult, Status

_LADDER = 4.0  # largest ratio of two neighbouring penalties of a cold start
_SMALL = 0.05  # start from least squares if its penalty, relative to its objective, is smaller
_LOOSE = 0.1  # relative violation at which a rung of the ladder is left
_FINAL = 0.2  # relative violation of the last round, as a multiple of the tolerance
_NEAR = 0.05  # Newton goes to the end once groups at zero violate less than this
_PATIENCE = 8  # most rounds without a better gap
_LEAST_GROWTH = 20  # groups that may enter at once; more if more are active


@dataclass(frozen=True)
class State:
    """Scales ``δ`` of all groups, the matrix they give, and the group norms of its residual."""

    scales: Float64[Tensor, " groups"]
    point: Point
    norms: Float64[Tensor, " groups"]
    steps: int = 0

    @property
    def active(self) -> Int64[Tensor, " kept"]:
        """Groups that are not zero."""
        return (self.scales > 0).nonzero()[:, 0]


def state_at(problem: Problem, scales: Float64[Tensor, " groups"], steps: int = 0) -> State:
    """``M = B (R + Δ⁻¹)⁻¹`` and its residual; O(k³ + h k d) with k nonzero columns."""
    found = [_minimiser(consumer, scales) for consumer in problem.consumers]
    columns, compact, residuals = (tuple(part) for part in zip(*found, strict=True))
    norms = problem.group_squares(residuals).sqrt()
    return State(scales, Point(columns, compact, residuals), norms, steps)


def _minimiser(
    consumer: Consumer, scales: Float64[Tensor, " groups"]
) -> tuple[Int64[Tensor, " k"], Float64[Tensor, "r k"], Float64[Tensor, "r d"]]:
    """The nonzero columns, the matrix on them, and the whole residual."""
    spread = scales[consumer.owner]
    columns = (spread > 0).nonzero()[:, 0]
    if not len(columns):
        return columns, consumer.cross[:, columns], consumer.cross
    root = spread[columns].sqrt()
    rows = consumer.gram[columns]
    normal = root[:, None] * rows[:, columns] * root
    normal.diagonal().add_(1)
    lower = torch.linalg.cholesky_ex(normal)[0]
    right = (consumer.cross[:, columns] * root).mT
    compact = torch.cholesky_solve(right, lower).mT * root
    return columns, compact, consumer.cross - compact @ rows


def solve(
    problem: Problem, certificate: Certificate, alpha: float, state: State, tol: float, limit: int
) -> tuple[State, float, Status]:
    """Solve for one penalty > 0 from the state at another penalty.

    Args:
        problem: reduced and damped.
        certificate: that of the same problem.
        alpha: the penalty.
        state: the start; on a path, the state of the penalty before.
        tol: bound of the relative gap.
        limit: largest number of Newton steps of the whole call.

    Returns:
        The new state, its relative gap and its status.
    """
    state = State(state.scales, state.point, state.norms)
    if not len(state.active):
        dense = _dense(problem, certificate, alpha, tol)
        if dense is not None:
            return dense
    level = float((state.norms / problem.weights).max()) / alpha
    rungs = math.ceil(math.log(max(level, 1.0)) / math.log(_LADDER))
    for rung in range(1, rungs):
        state = _rung(problem, alpha * level ** (1 - rung / rungs), state, limit)
    return _certified(problem, certificate, alpha, state, tol, limit)


def _dense(
    problem: Problem, certificate: Certificate, alpha: float, tol: float
) -> tuple[State, float, Status] | None:
    """A solution close to least squares, if the penalty is a small part of the objective."""
    limits = alpha * problem.weights
    share = float((limits * certificate.norms).sum()) / max(certificate.scale, 1e-300)
    if not 0 < share < _SMALL:
        return None
    scales = dense_scales(problem, certificate.norms / limits, limits, 0.5 * tol / share)
    if scales is None:
        return None
    state = state_at(problem, scales)
    relative = gap(problem, certificate, state.point, alpha) / certificate.scale
    return (state, relative, "converged") if relative <= tol else None


def _rung(problem: Problem, alpha: float, state: State, limit: int) -> State:
    """Solve loosely for one penalty of the ladder."""
    limits = alpha * problem.weights
    state, _ = _improved(problem, limits, state, 3 * _LOOSE, limit, grow=False)
    for _ in range(2):
        state, _ = _improved(problem, limits, state, _LOOSE, limit)
        if _outside(state, limits) <= 3 * _LOOSE:
            break
    return state


def _certified(
    problem: Problem, certificate: Certificate, alpha: float, state: State, tol: float, limit: int
) -> tuple[State, float, Status]:
    """Alternate Newton's method and growth until the gap is small or cannot become smaller."""
    limits = alpha * problem.weights
    best, best_gap, stalls, finest = state, float("inf"), 0, _FINAL * tol
    state, _ = _improved(problem, limits, state, 0.2 * _outside(state, limits), limit, grow=False)
    while stalls < _PATIENCE:
        outside = _outside(state, limits)
        accuracy = finest if outside < _NEAR else _LOOSE * outside
        state, reached = _improved(problem, limits, state, min(accuracy, _LOOSE), limit)
        stopped = state.steps >= limit
        if _outside(state, limits) > 10 * tol and accuracy > finest and not stopped:
            continue
        relative = gap(problem, certificate, state.point, alpha) / max(certificate.scale, 1e-300)
        stalls = 0 if relative < 0.9 * best_gap else stalls + 1
        if relative < best_gap:
            best, best_gap = state, relative
        if best_gap <= tol:
            return best, best_gap, "converged"
        if stopped:
            return best, best_gap, "iteration limit"
        if reached <= finest:
            finest = max(0.1 * finest, 1e-13)
    return best, best_gap, "stalled"


def _outside(state: State, limits: Float64[Tensor, " groups"]) -> float:
    """The largest relative excess of a group that is zero."""
    excess = torch.where(state.scales > 0, 0.0, state.norms / limits - 1)
    return max(float(excess.max()), 0.0)


def _improved(
    problem: Problem,
    limits: Float64[Tensor, " groups"],
    state: State,
    tol: float,
    limit: int,
    grow: bool = True,
) -> tuple[State, float]:
    """Run Newton's method on the active groups and the worst violators.

    Returns:
        The new state, and the violation that Newton's method ended with.
    """
    chosen = _chosen(state, limits) if grow else state.active
    if not len(chosen):
        return state, 0.0
    blocks = [_block(consumer, chosen, len(limits)) for consumer in problem.consumers]
    found = projected_newton(
        blocks, limits[chosen], state.scales[chosen], tol, max(limit - state.steps, 0)
    )
    scales = torch.zeros_like(state.scales)
    scales[chosen] = found.scales
    return state_at(problem, scales, state.steps + found.steps), found.violation


def _chosen(state: State, limits: Float64[Tensor, " groups"]) -> Int64[Tensor, " chosen"]:
    """The active groups and the worst violators; the set at most doubles, or grows by 20."""
    active = state.active
    excess = torch.where(state.scales > 0, 0.0, state.norms / limits)
    room = max(_LEAST_GROWTH, len(active))
    count = min(room, int((excess > 1).sum()))
    return torch.cat([active, excess.topk(count).indices]).sort().values


def _block(consumer: Consumer, chosen: Int64[Tensor, " chosen"], count: int) -> Block:
    """The consumer's columns of the chosen groups, with its rows rotated if that saves work."""
    place = torch.full((count,), -1, dtype=torch.int64, device=chosen.device)
    place[chosen] = torch.arange(len(chosen), device=chosen.device)
    owner = place[consumer.owner]
    columns = (owner >= 0).nonzero()[:, 0]
    cross, owner = consumer.cross[:, columns], owner[columns]
    if len(cross) > 3 * len(columns):
        cross = torch.linalg.qr(cross, mode="r").R
    single = len(owner) == len(chosen) and bool((owner.diff() > 0).all())
    return Block(consumer.gram[columns][:, columns], cross, owner, single)


def result_of(
    problem: Problem, state: State, alpha: float, relative_gap: float, status: Status
) -> GroupLassoResult:
    """The public record of a state."""
    parts = zip(problem.consumers, state.point.columns, state.point.compact, strict=True)
    solutions = tuple(consumer.restore(columns, m) for consumer, columns, m in parts)
    constant = sum(consumer.constant for consumer in problem.consumers)
    value = constant + objective(problem, state.point, alpha)
    return GroupLassoResult(
        solutions, alpha, value, relative_gap, state.active, state.steps, status
    )

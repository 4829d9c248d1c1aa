"""The group lasso at one penalty, and the smallest penalty at which the solution is zero."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from eckart.errors import InputError, NotConvergedWarning
from eckart.linalg.group_sparsity.checks import read_alpha, read_matrix
from eckart.linalg.group_sparsity.duality import Certificate, Point, certify, gap
from eckart.linalg.group_sparsity.problem import Consumer, Problem, prepare
from eckart.linalg.group_sparsity.result import GroupLassoResult, Status
from eckart.linalg.group_sparsity.working_set import State, result_of, solve, state_at
from eckart.linalg.regression import least_squares

Matrices = Tensor | Sequence[Tensor]


def group_lasso(
    gram: Matrices,
    cross: Matrices,
    alpha: float,
    *,
    groups: Sequence[Any] | None = None,
    unpenalised: Sequence[Any] = (),
    weights: Tensor | Sequence[float] | None = None,
    start: Matrices | None = None,
    tol: float = 1e-6,
    max_iterations: int = 500,
) -> GroupLassoResult:
    """Reconstruct a linear layer from few groups of its inputs, from second moments alone.

    This minimises ``f(M) + alpha g(M)`` with ``f(M) = ½ tr(M R Mᵀ) - tr(B Mᵀ)`` and
    ``g(M) = Σ_j w_j ‖M[:, group j]‖_F``. ``R`` is damped by the rounding of its own products
    (``4 d ε`` times its largest diagonal entry), so rank deficiency and duplicate or constant
    columns are normal input.

    Args:
        gram: ``R``, second moment of the inputs, shape (in, in), positive semidefinite; or a list
            with one per consumer, for consumers that have their own inputs and share groups.
        cross: ``B``, second moment of outputs and inputs, shape (out, in); a list if ``gram`` is
            one.
        alpha: the penalty, 0 or more; at `alpha_max` and above the solution is exactly zero.
        groups: lists of column indices that are kept or pruned together; by default every
            penalised column is a group. For several consumers, one such list per consumer:
            ``groups[c][j]`` are the columns of group j in consumer c, empty if it has none. The
            norm of a group is taken over all consumers.
        unpenalised: columns without a penalty, such as a bias column of ones; for several
            consumers, one list per consumer.
        weights: one positive ``w_j`` per group; 1 by default.
        start: a nearby solution, shape (out, in), or one per consumer.
        tol: bound of the duality gap, relative to ``½ tr(B R⁺ Bᵀ)``.
        max_iterations: largest number of Newton steps.

    Returns:
        The solution, with its objective, gap, support, Newton steps and status.

    Raises:
        InputError: a negative alpha; groups that overlap or leave out penalised columns; a Gram
            matrix that is asymmetric or indefinite beyond rounding; shapes that do not fit; a
            dtype that is not real floating point.
        NonFiniteError: NaN or infinity.

    Warns:
        NotConvergedWarning: the gap is above ``tol``; the result is the best solution found.

    Cost: O(h d²) once, and per Newton step O(k³) for a working set of k columns; about 20 steps
        from a cold start, most of them on small sets.

    Source: Yuan and Lin 2006 for the l2,1 regularisation; ``newton.py`` describes the solver.

    Example:
        >>> import torch
        >>> from eckart.linalg import group_lasso
        >>> r = torch.diag(torch.tensor([1.0, 2.0, 4.0])).double()
        >>> result = group_lasso(r, torch.tensor([[3.0, 0.5, 2.0]]).double(), alpha=1.0)
        >>> result.support.tolist(), result.solution.round(decimals=6).tolist()
        ([0, 2], [[2.0, 0.0, 0.25]])
    """
    alpha = read_alpha(alpha)
    problem = prepare(gram, cross, groups, unpenalised, weights)
    certificate = certify(problem)
    state = start_state(problem, start, alpha)
    result = solve_any(problem, certificate, alpha, state, tol, max_iterations)[1]
    warn_unless_converged(result, tol)
    return result


def alpha_max(
    gram: Matrices,
    cross: Matrices,
    *,
    groups: Sequence[Any] | None = None,
    unpenalised: Sequence[Any] = (),
    weights: Tensor | Sequence[float] | None = None,
) -> float:
    """The smallest penalty at which every group is zero: ``max_j ‖B[:, group j]‖ / w_j``.

    ``B`` is reduced: the unpenalised columns are solved for first. Arguments and errors are those
    of `group_lasso`.

    Cost: O(h d + d³); the second term is for checking the Gram matrix.

    Example:
        >>> import torch
        >>> from eckart.linalg import alpha_max
        >>> alpha_max(torch.eye(2).double(), torch.tensor([[3.0, 0.0], [4.0, 1.0]]).double())
        5.0
    """
    return prepare(gram, cross, groups, unpenalised, weights).alpha_max


def solve_any(
    problem: Problem,
    certificate: Certificate,
    alpha: float,
    state: State,
    tol: float,
    limit: int,
) -> tuple[State, GroupLassoResult]:
    """Solve for one penalty, including 0 and `alpha_max` and above."""
    status: Status = "converged"
    if alpha >= problem.alpha_max:
        state = state_at(problem, torch.zeros_like(problem.weights))
        return state, result_of(problem, state, alpha, 0.0, status)
    if alpha == 0:
        return state, _unpenalised_result(problem, certificate, tol)
    state, relative, status = solve(problem, certificate, alpha, state, tol, limit)
    return state, result_of(problem, state, alpha, relative, status)


def _unpenalised_result(problem: Problem, certificate: Certificate, tol: float) -> GroupLassoResult:
    """The least-squares solution, for a penalty of zero."""
    solved = [least_squares(c.cross, c.gram) for c in problem.consumers]
    scales = problem.group_squares(solved).sqrt()
    columns = [torch.arange(c.cross.shape[1], device=scales.device) for c in problem.consumers]
    pairs = zip(problem.consumers, solved, strict=True)
    residuals = [consumer.cross - m @ consumer.gram for consumer, m in pairs]
    state = State(scales, Point(tuple(columns), tuple(solved), tuple(residuals)), scales)
    relative = gap(problem, certificate, state.point, 0.0) / max(certificate.scale, 1e-300)
    return result_of(problem, state, 0.0, relative, "converged" if relative <= tol else "stalled")


def start_state(problem: Problem, start: Matrices | None, alpha: float) -> State:
    """Scales that roughly give the matrix to start from; zero if there is none."""
    scales = torch.zeros_like(problem.weights)
    if start is not None and alpha > 0:
        given = [start] if isinstance(start, Tensor) else list(start)
        if len(given) != len(problem.consumers):
            got = f"{len(given)} matrices for {len(problem.consumers)} consumers"
            raise InputError(f"start: {got}; give one per consumer")
        pairs = zip(problem.consumers, given, strict=True)
        parts = [penalised_part(consumer, matrix, "start") for consumer, matrix in pairs]
        scales = problem.group_squares(parts).sqrt() / (alpha * problem.weights)
    return state_at(problem, scales)


def penalised_part(consumer: Consumer, matrix: Tensor, name: str) -> Float64[Tensor, "h d"]:
    """Check the shape of a given matrix and return its penalised columns."""
    read = read_matrix(name, matrix)
    expected = (len(consumer.offset), len(consumer.penalised) + len(consumer.free))
    if read.shape != expected:
        raise InputError(f"{name}: shape {tuple(read.shape)}, expected {expected}")
    return read[:, consumer.penalised]


def warn_unless_converged(result: GroupLassoResult, tol: float) -> None:
    """Warn if the gap is above the tolerance."""
    if result.status != "converged":
        warnings.warn(
            f"group lasso at alpha = {result.alpha:.3g}: {result.status} after "
            f"{result.iterations} steps with a relative gap of {result.gap:.1e}, above {tol:.1e}; "
            "raise max_iterations or tol, or damp gram",
            NotConvergedWarning,
            stacklevel=3,
        )

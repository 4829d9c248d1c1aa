"""Least squares on the support that the group lasso chose, to undo its shrinkage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float64, Int64
from torch import Tensor

from eckart.errors import InputError
from eckart.linalg.group_sparsity.duality import lifted
from eckart.linalg.group_sparsity.problem import Consumer, prepare
from eckart.linalg.group_sparsity.solver import Matrices, penalised_part
from eckart.linalg.regression import least_squares


def debias(
    gram: Matrices,
    cross: Matrices,
    solution: Matrices,
    *,
    groups: Sequence[Any] | None = None,
    unpenalised: Sequence[Any] = (),
    damping: float = 1e-8,
) -> tuple[Float64[Tensor, "out in"], ...]:
    """Refit the groups that are not zero by least squares; ``f`` never rises.

    This minimises ``½ tr(M R Mᵀ) - tr(B Mᵀ) + ½ ε ‖M - M₀‖²`` over matrices with the support of
    ``M₀``, where ``ε`` is ``damping`` times the largest diagonal entry of ``R``. The damping pulls
    towards ``M₀``, not towards zero, which guarantees ``f(M) ≤ f(M₀)``. Unpenalised columns are
    refitted too.

    Args:
        gram: ``R``, shape (in, in), or a list with one per consumer, as in `group_lasso`.
        cross: ``B``, shape (out, in), or a list.
        solution: ``M₀``, shape (out, in), or a list.
        groups: as in `group_lasso`.
        unpenalised: as in `group_lasso`.
        damping: relative, 0 or more.

    Returns:
        One matrix per consumer.

    Raises:
        InputError: as in `group_lasso`; a solution of the wrong shape; a negative damping.
        NonFiniteError: NaN or infinity.

    Cost: O(k³ + h k² + h d) with k columns kept.

    Example:
        >>> import torch
        >>> from eckart.linalg import debias, group_lasso
        >>> r, b = torch.eye(2).double(), torch.tensor([[3.0, 1.0]]).double()
        >>> debias(r, b, group_lasso(r, b, alpha=2.0).solution)[0].round(decimals=6).tolist()
        [[3.0, 0.0]]
    """
    if damping < 0:
        raise InputError(f"damping = {damping}: expected 0 or more")
    problem = prepare(gram, cross, groups, unpenalised)
    given = [solution] if isinstance(solution, Tensor) else list(solution)
    if len(given) != len(problem.consumers):
        got = f"{len(given)} matrices for {len(problem.consumers)} consumers"
        raise InputError(f"solution: {got}; give one per consumer")
    pairs = list(zip(problem.consumers, given, strict=True))
    parts = [penalised_part(consumer, matrix, "solution") for consumer, matrix in pairs]
    kept = problem.group_squares(parts) > 0
    return tuple(
        _refitted(consumer, part, kept[consumer.owner].nonzero()[:, 0], damping)
        for consumer, part in zip(problem.consumers, parts, strict=True)
    )


def _refitted(
    consumer: Consumer,
    given: Float64[Tensor, "h d"],
    columns: Int64[Tensor, " k"],
    damping: float,
) -> Float64[Tensor, "h in"]:
    """One exact Newton step of the quadratic problem; the old columns if it does not help."""
    before = given[:, columns]
    if consumer.rotation is not None:  # rows outside the span of B only raise the objective
        before = consumer.rotation.mT @ before
    gram, cross = consumer.gram[columns][:, columns], consumer.cross[:, columns]
    residual = cross - before @ gram
    after = before + least_squares(residual, lifted(gram, damping))
    better = _smooth(gram, cross, after) <= _smooth(gram, cross, before)
    return consumer.restore(columns, after if better else before)


def _smooth(
    gram: Float64[Tensor, "k k"], cross: Float64[Tensor, "r k"], m: Float64[Tensor, "r k"]
) -> float:
    """``f`` over the kept columns."""
    return float(((0.5 * m @ gram - cross) * m).sum())

"""The group lasso along a path of penalties; every solution starts from the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from eckart.errors import InputError
from eckart.linalg.group_sparsity.checks import read_alpha
from eckart.linalg.group_sparsity.duality import certify
from eckart.linalg.group_sparsity.problem import prepare
from eckart.linalg.group_sparsity.result import GroupLassoPath, GroupLassoResult
from eckart.linalg.group_sparsity.sizes import SizeSearch
from eckart.linalg.group_sparsity.solver import Matrices, solve_any, warn_unless_converged
from eckart.linalg.group_sparsity.working_set import state_at


def group_lasso_path(
    gram: Matrices,
    cross: Matrices,
    *,
    alphas: Sequence[float] | None = None,
    n_alphas: int = 50,
    alpha_min_ratio: float = 0.01,
    sizes: Sequence[int] | None = None,
    groups: Sequence[Any] | None = None,
    unpenalised: Sequence[Any] = (),
    weights: Tensor | Sequence[float] | None = None,
    tol: float = 1e-6,
    max_iterations: int = 500,
) -> GroupLassoPath:
    """Solutions for many penalties, or one for each requested size of the support.

    By default there are ``n_alphas`` penalties from `alpha_max` down to ``alpha_min_ratio`` times
    that, evenly spaced on a log scale. With ``sizes``, each size is found by bisecting the penalty.
    Some sizes may not exist, because groups can enter together, and the support can shrink when the
    penalty falls. Such a size is skipped: its result is the largest support found below it, and
    ``path.jumped`` names it.

    Args:
        gram: as in `group_lasso`.
        cross: as in `group_lasso`.
        alphas: the penalties, in any order; they are solved from large to small.
        n_alphas: number of penalties if they are not given.
        alpha_min_ratio: the last penalty divided by the first; not used with ``sizes``.
        sizes: numbers of groups to keep, in any order; not together with ``alphas``.
        groups: as in `group_lasso`.
        unpenalised: as in `group_lasso`.
        weights: as in `group_lasso`.
        tol: bound of the relative gap of each solution.
        max_iterations: largest number of Newton steps for each penalty.

    Returns:
        The results in the order of ``alphas`` or ``sizes``.

    Raises:
        InputError: as in `group_lasso`; sizes below 0 or above the number of groups.
        NonFiniteError: NaN or infinity.

    Warns:
        NotConvergedWarning: for each penalty whose gap is above ``tol``.

    Cost: O(h d²) once, as for `group_lasso`; then two to four Newton steps of O(k³) per penalty of
        a dense path, and about five penalties per size.

    Example:
        >>> import torch
        >>> from eckart.linalg import group_lasso_path
        >>> r, b = torch.eye(3).double(), torch.tensor([[3.0, 1.0, 2.0]]).double()
        >>> path = group_lasso_path(r, b, sizes=[1, 2])
        >>> [result.support.tolist() for result in path.results]
        [[0], [0, 2]]
    """
    if alphas is not None and sizes is not None:
        raise InputError("alphas and sizes: give one of the two")
    problem = prepare(gram, cross, groups, unpenalised, weights)
    certificate = certify(problem)
    if sizes is not None:
        search = SizeSearch(problem, certificate, tol, max_iterations)
        found = search.results(_read_sizes(sizes, len(problem.weights)))
        results = [found[size] for size in sizes]
    else:
        if alphas is None:
            alphas = _log_spaced(problem.alpha_max, n_alphas, alpha_min_ratio)
        wanted = [read_alpha(alpha) for alpha in alphas]
        state = state_at(problem, torch.zeros_like(problem.weights))
        by_alpha: dict[float, GroupLassoResult] = {}
        for alpha in sorted(set(wanted), reverse=True):
            state, by_alpha[alpha] = solve_any(
                problem, certificate, alpha, state, tol, max_iterations
            )
        results = [by_alpha[alpha] for alpha in wanted]
    for result in {id(result): result for result in results}.values():
        warn_unless_converged(result, tol)
    return GroupLassoPath(tuple(results), None if sizes is None else tuple(sizes))


def _log_spaced(largest: float, count: int, ratio: float) -> list[float]:
    """Numbers from ``largest`` down to ``ratio`` times it, evenly spaced on a log scale."""
    if count < 1 or not 0 < ratio <= 1:
        raise InputError(
            f"n_alphas = {count}, alpha_min_ratio = {ratio}: expected n_alphas of at least 1 and "
            "alpha_min_ratio above 0, at most 1"
        )
    return [largest * ratio ** (i / max(count - 1, 1)) for i in range(count)]


def _read_sizes(sizes: Sequence[int], groups: int) -> list[int]:
    """Sizes without repetition, ascending."""
    for size in sizes:
        if not 0 <= size <= groups:
            raise InputError(f"sizes: got {size}; there are {groups} groups")
    return sorted({int(size) for size in sizes})

"""Alternating minimisation for the group lasso on single columns, as taught in courses."""

from __future__ import annotations

import torch
from torch import Tensor

from eckart.errors import InputError
from eckart.linalg.group_sparsity.taught.accelerated import accelerate
from eckart.linalg.group_sparsity.taught.history import History, read_quadratic

_Q = 10.0


def alternating_minimisation(
    gram: Tensor,
    cross: Tensor,
    alpha: float,
    *,
    rounds: int = 50,
    smoothing: float = 1e-10,
    max_iterations: int = 100_000,
) -> History:
    """Rounds of new weights and ridge regression, then FISTA with q = 10.

    This minimises ``½ tr(M R Mᵀ) - tr(B Mᵀ) + alpha Σ_j ‖M_j‖`` through the identity
    ``‖M_j‖ = min_η ½ (‖M_j‖² / η_j + η_j)``. From ``M = 0``, each round sets
    ``η_j = (Σ_i M_ij² + smoothing)^½`` and then ``M ← B (R + alpha diag(1/η))⁻¹``. Columns never
    reach zero in this way, but FISTA then sets them to zero. This function is for teaching; to
    solve a problem, use `group_lasso`.

    Args:
        gram: ``R``, shape (in, in).
        cross: ``B``, shape (out, in).
        alpha: the penalty, 0 or more.
        rounds: rounds before FISTA, 0 or more.
        smoothing: added to the squared norms, above 0: the rounds can leave zero, and minimise a
            smooth objective, whose optimum is off by an amount that falls with it.
        max_iterations: largest number of iterations of FISTA; 0 for the rounds alone.

    Returns:
        The solution, and the objective after each round and each iteration of FISTA.

    Raises:
        InputError: as in `group_lasso`; negative rounds; a smoothing that is not above 0.
        NonFiniteError: NaN or infinity.

    Cost: O(d³ + h d²) per round, then O(h d²) per iteration.

    Source: Argyriou, Evgeniou and Pontil 2008, Algorithm 1; Bach et al. 2012 (1108.0775), 5.

    Example:
        >>> import torch
        >>> from eckart.linalg import alternating_minimisation
        >>> r, b = torch.eye(2).double(), torch.ones(1, 2).double()
        >>> history = alternating_minimisation(r, b, 0.5)
        >>> history.solution.round(decimals=6).tolist()
        [[0.5, 0.5]]
    """
    problem = read_quadratic(gram, cross, alpha)
    if rounds < 0 or not smoothing > 0:
        got = f"rounds = {rounds}, smoothing = {smoothing}"
        raise InputError(f"{got}: expected 0 or more rounds and a smoothing above 0")
    m, losses = torch.zeros_like(problem.cross), []
    for _ in range(rounds):
        eta = (m.square().sum(0) + smoothing).sqrt()
        damped = problem.gram + torch.diag(alpha / eta)
        solved, info = torch.linalg.solve_ex(damped, problem.cross, left=False)
        m = problem.cross @ torch.linalg.pinv(damped, hermitian=True) if info else solved
        losses.append(problem.loss(m, m @ problem.gram))
    rest = accelerate(problem, m, _Q, max_iterations)
    return History(rest.solution, (*losses, *rest.losses), rest.converged)

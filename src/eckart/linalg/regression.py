"""Least squares from moments: a matrix of full or bounded rank that maps inputs to targets.

With ``R = E[x xᵀ]`` and ``C = E[t xᵀ]``, the error ``E ‖t − M x‖²`` under a metric ``G`` on the
targets is ``tr(G (E[t tᵀ] − C Mᵀ − M Cᵀ + M R Mᵀ))``.
"""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from eckart.linalg.whitening import factor, roots


def least_squares(
    cross: Float64[Tensor, "*b out in"], gram: Float64[Tensor, "*b in in"]
) -> Float64[Tensor, "*b out in"]:
    """``C R⁻¹``, the least-squares matrix; the metric on the targets drops out.

    Args:
        cross: C.
        gram: R, damped; inverted through its symmetric root if Cholesky fails.

    Cost: O(in³ + out·in²) per group.
    """
    lower, info = torch.linalg.cholesky_ex(gram)
    if info.any():
        inverse = roots(gram)[1]
        return cross @ inverse @ inverse
    solved: Tensor = torch.cholesky_solve(cross.mT, lower).mT
    return solved


def reduced_rank_regression(
    cross: Float64[Tensor, "groups out in"],
    gram: Float64[Tensor, "groups in in"],
    g: Float64[Tensor, "groups out out"],
    rank: int,
) -> tuple[Float64[Tensor, "groups out rank"], Float64[Tensor, "groups rank in"]]:
    """The least-squares matrix of a given rank, ``M = G^-½ Uᵣ Uᵣᵀ G^½ C R⁻¹``, as two factors.

    The columns of ``U`` are the leading eigenvectors of ``G^½ C R⁻¹ Cᵀ G^½``. With targets ``W x``
    this is the output projection.

    Args:
        cross: C.
        gram: R, damped.
        g: G, damped.
        rank: at most min(out, in).

    Cost: O(in³ + out·in² + out³) per group.

    Source: Izenman 1975, reduced-rank regression for the multivariate linear model.
    """
    free, lift = least_squares(cross, gram), factor(g)
    lifted = lift.mT @ free
    explained = lifted @ gram @ lifted.mT
    _, vectors = torch.linalg.eigh((explained + explained.mT) / 2)
    leading = vectors.flip(-1)[..., :rank]
    return torch.linalg.solve(lift.mT, leading), leading.mT @ lifted

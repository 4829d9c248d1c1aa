"""The weighted optimum of one rank from products with W, A and G alone, without roots or inverses.

``K = W A Wᵀ G`` is self-adjoint in the inner product ``⟨x, y⟩ = xᵀ G y``. Its leading eigenvectors
``X`` with ``Xᵀ G X = I`` are ``G^-½ U``, where ``U`` are the leading left singular vectors of
``G^½ W A^½``. So ``X Xᵀ G W`` is the optimal matrix of its rank, and subspace iteration in that
inner product finds it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eckart.linalg.admissible import (
    admissible_matrix,
    admissible_moment,
    check_count,
    check_rank,
)


@dataclass(frozen=True)
class WeightedComponents:
    """``W ≈ left @ right``, the leading components in the metric of A and G.

    Attributes:
        left: shape (out, rank), ``leftᵀ G left = I``; zero beyond the rank of ``G^½ W A^½``.
        singular_values: those of ``G^½ W A^½``, descending, shape (rank,).
        right: ``leftᵀ G W``, shape (rank, in); ``right A rightᵀ`` is diagonal.
    """

    left: Float[Tensor, "out rank"]
    singular_values: Float[Tensor, " rank"]
    right: Float[Tensor, "rank in"]


@torch.no_grad()
def weighted_components(
    weight: Tensor,
    a: Tensor,
    g: Tensor,
    rank: int,
    *,
    oversampling: int = 10,
    power_iterations: int = 4,
    generator: torch.Generator | None = None,
) -> WeightedComponents:
    """Minimise ``½ tr(G (W − M) A (W − M)ᵀ)`` over matrices of one rank, by subspace iteration.

    Args:
        weight: W, shape (out, in), real floating point.
        a: A over the inputs, (in, in), symmetric positive semidefinite.
        g: G over the outputs, (out, out), symmetric positive semidefinite.
        rank: 1 to min(out, in).
        oversampling: number of extra directions beyond the rank.
        power_iterations: double products after the first.
        generator: random generator of the start.

    Returns:
        Factors in W's dtype, detached; computed in float64.

    Raises:
        InputError: shapes that do not fit, a rank out of range. NonFiniteError for NaN and
            infinity.

    Cost: O(iterations·(rank + oversampling)·(out·in + in² + out²)).

    Source: Halko, Martinsson and Tropp 2011 (0909.4061), algorithm 4.4, in the metric of K-FAC
        (Martens and Grosse 2015, 1503.05671).

    Example:
        >>> W, G = torch.diag(torch.tensor([3.0, 2.0])), torch.diag(torch.tensor([1.0, 9.0]))
        >>> weighted_components(W, torch.eye(2), G, 1).singular_values
        tensor([6.])
    """
    W, (out, inputs) = admissible_matrix(weight, "weight").double(), weight.shape
    check_rank(rank, weight.shape)
    check_count(oversampling, "oversampling")
    check_count(power_iterations, "power_iterations")
    A = _symmetric(admissible_moment(a, inputs, "a"))
    G = _symmetric(admissible_moment(g, out, "g"))
    size = min(rank + oversampling, out, inputs)
    start = torch.randn(size, inputs, dtype=W.dtype, device=W.device, generator=generator)
    X = _orthonormal(start @ A @ W.mT, G)
    for _ in range(power_iterations):
        Z = _orthonormal(X @ G @ W, A)
        X = _orthonormal(Z @ A @ W.mT, G)
    return _leading(X, W, A, G, rank, weight.dtype)


def _leading(
    X: Tensor, W: Tensor, A: Tensor, G: Tensor, rank: int, dtype: torch.dtype
) -> WeightedComponents:
    """Rayleigh–Ritz in the span of the rows of X, padded with zeros up to the rank."""
    B = X @ G @ W
    values, vectors = torch.linalg.eigh(_symmetric(B @ A @ B.mT))
    turn = vectors.flip(-1)[:, :rank]
    left, right = X.mT @ turn, turn.mT @ B
    missing = rank - left.shape[1]
    left = torch.cat([left, left.new_zeros(len(left), missing)], 1)
    right = torch.cat([right, right.new_zeros(missing, right.shape[1])])
    values = torch.cat([values.flip(0)[:rank].clamp_min(0).sqrt(), values.new_zeros(missing)])
    largest = left.gather(0, left.abs().argmax(0, keepdim=True))
    signs = torch.where(largest < 0, -1.0, 1.0).to(left.dtype)
    return WeightedComponents(
        (left * signs).to(dtype), values.to(dtype), (right * signs.mT).to(dtype)
    )


def _orthonormal(rows: Tensor, metric: Tensor) -> Tensor:
    """Rows with ``R M Rᵀ = I`` and the same span; directions of no length in M drop out."""
    for _ in range(2):
        gram = rows @ metric @ rows.mT
        scale = gram.diagonal().clamp_min(1e-300).rsqrt()
        values, vectors = torch.linalg.eigh(_symmetric(scale[:, None] * gram * scale))
        known = values > values[-1:].clamp_min(0) * 1e-13
        turn = vectors[:, known] * values[known].rsqrt()
        rows = (turn * scale[:, None]).mT @ rows
    return rows


def _symmetric(gram: Tensor) -> Tensor:
    gram = gram.double()
    return (gram + gram.mT) / 2

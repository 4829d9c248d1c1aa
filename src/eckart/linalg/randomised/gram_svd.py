"""Exact decompositions from the eigenvectors of the Gram matrix of the smaller side.

``X Xᵀ`` in float64 resolves singular values down to 10⁻⁸ of the largest, which is below the
rounding of a float32 matrix. So this is as exact as a direct decomposition, and several times
faster on matrices that are not square. A float64 matrix would lose half of its digits, so it is
decomposed directly.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from eckart.linalg.randomised.orthonormal import cholesky_rows, completed_rows

_STRIPS = 5
_OBLONG = 1.5  # ratio of the sides from which the Gram matrix is faster than gesdd in float32

Rows = tuple[Float[Tensor, "k m"], Float[Tensor, " k"], Float[Tensor, "k n"]]


def full_svd(matrix: Float[Tensor, "m n"]) -> Rows:
    """All singular triples with vectors in rows, ``A = Uᵀ diag(S) V``, by the cheaper exact way.

    Args:
        matrix: float32 or float64, finite.

    Cost: O(m·n·min(m, n)).

    Example:
        >>> U, S, V = full_svd(torch.tensor([[0.0, 2.0], [1.0, 0.0]]))
        >>> S
        tensor([2., 1.])
    """
    m, n = matrix.shape
    if matrix.dtype != torch.float32 or max(m, n) < _OBLONG * min(m, n):
        U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
        return U.mT, S, Vh
    if m <= n:
        return rows_svd(matrix, m)
    V, S, U = rows_svd(matrix.mT, n)
    return U, S, V


def rows_svd(
    rows: Float[Tensor, "d n"], rank: int, generator: torch.Generator | None = None
) -> Rows:
    """The leading triples of a matrix with few rows, ``X ≈ Uᵀ diag(S) V``, with vectors in rows.

    Args:
        rows: shape (d, n), d ≤ n, float32 or float64.
        rank: at most d.
        generator: draws the arbitrary vectors that complete V if the rank of X is below ``rank``.

    Cost: O(d²·n + d³).
    """
    if rows.dtype == torch.float64:
        left, S, V = (part[..., :rank] for part in _direct(rows))
        return left.mT, S, V.mT
    wide = rows.double()
    values, vectors = torch.linalg.eigh(_lower_gram(wide))
    S = values.flip(0)[:rank].clamp_min(0).sqrt()
    U = vectors.flip(1)[:, :rank].mT
    floor = 10 * torch.finfo(rows.dtype).eps * S[:1]
    known = int(S.gt(floor).sum())
    V = ((U[:known] / S[:known, None]) @ wide).to(rows.dtype)
    if known and float(S[known - 1]) < 1e-4 * float(S[0]):
        better = cholesky_rows(V)
        V = V if better is None else better
    return U.to(rows.dtype), S.to(rows.dtype), completed_rows(V, rank, generator)


def _lower_gram(rows: Float[Tensor, "d n"]) -> Float[Tensor, "d d"]:
    """The lower triangle of ``X Xᵀ`` for 60 % of the work; `torch.linalg.eigh` reads no more."""
    count = len(rows)
    gram = rows.new_zeros(count, count)
    width = max(-(-count // _STRIPS), 1)
    for start in range(0, count, width):
        strip = slice(start, start + width)
        gram[start:, strip] = rows[start:] @ rows[strip].mT
    return gram


def _direct(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U and V with vectors in columns, and S between them."""
    U, S, Vh = torch.linalg.svd(rows, full_matrices=False)
    return U, S, Vh.mT

"""Randomised singular value decomposition, and its parts.

The algorithms are those of Halko, Martinsson and Tropp 2011 (0909.4061). Results are detached from
the graph of their input, computed in float32 (float64 for float64) and returned in the input's
dtype.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from eckart.linalg.admissible import admissible_matrix, check_count, check_rank, unit_scale
from eckart.linalg.randomised.gram_svd import full_svd, rows_svd
from eckart.linalg.randomised.krylov import krylov_range
from eckart.linalg.randomised.orthonormal import completed_rows, orthonormal_rows, with_fixed_signs
from eckart.linalg.randomised.ranges import subspace_rows

_DEPTH = 5  # blocks of the Krylov space
_BREADTH = 1.8  # dimensions of the Krylov space per wanted component
_SMALL = 192  # matrices with a side up to this are decomposed in full, in a few milliseconds

Vectors = Float[Tensor, "m k"]
Triple = tuple[Vectors, Float[Tensor, " k"], Float[Tensor, "k n"]]


@torch.no_grad()
def randomized_svd(
    matrix: Tensor,
    rank: int,
    *,
    oversampling: int = 10,
    power_iterations: int | None = None,
    return_range: bool = False,
    generator: torch.Generator | None = None,
) -> Triple | tuple[Vectors, Float[Tensor, " k"], Float[Tensor, "k n"], Float[Tensor, "m l"]]:
    """The leading singular triples: ``U diag(S) Vh`` within about 1 % of ``min ‖A − M‖_F``.

    By default the range comes from a block Krylov space, five blocks deep, with 1.8 dimensions per
    component. If that is half of the smaller side or more, or if the matrix is small, a full
    decomposition is used, because it is then faster and exact. If ``power_iterations`` is given,
    the range comes from subspace iteration with that number of iterations.

    Args:
        matrix: shape (m, n), real floating point, any strides.
        rank: number of components, 1 to min(m, n).
        oversampling: least number of dimensions of the range beyond the rank.
        power_iterations: None for a Krylov space, or a number of iterations, 0 or more.
        return_range: also return the orthonormal basis ``Q`` in which ``U`` lies.
        generator: random generator of the start; None means torch's own.

    Returns:
        U (m, rank), S (rank,) descending, Vh (rank, n), and with ``return_range`` Q (m, l). U and
        Vh are orthonormal, even if the rank of the matrix is below ``rank``. The largest entry of
        each column of U is positive.

    Raises:
        InputError: a rank out of range, or a matrix that is empty, complex, integer or on meta.
        NonFiniteError: NaN or infinity.

    Cost: O(m·n·rank + (m + n)·rank²).

    Source: Halko, Martinsson and Tropp 2011, algorithms 4.4 and 5.1; Musco and Musco 2015
        (1504.05477), algorithm 2.

    Example:
        >>> A = torch.outer(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 3.0, 4.0]))
        >>> U, S, Vh = randomized_svd(A, 1)
        >>> S.item() - 5 * 5 ** 0.5 < 1e-5, torch.allclose(U * S @ Vh, A)
        (True, True)
    """
    work = admissible_matrix(matrix)
    check_rank(rank, work.shape)
    check_count(oversampling, "oversampling")
    check_count(power_iterations or 0, "power_iterations")
    unit = unit_scale(work)
    work = work if unit == 1.0 else work / unit
    flat = work.shape[0] < work.shape[1]
    small = work.mT if flat else work  # the smaller side to the right
    size = _size(rank, oversampling, power_iterations, small.shape[1])
    if size is None:
        basis, image = small.new_empty(0, 0), small.new_empty(0, 0)
        left, S, right = (part[:rank] for part in full_svd(small))
    else:
        basis, image = _range(small, size, power_iterations, generator)
        left, S, right = range_svd(basis, image, rank, generator)
    U, V = (right, left) if flat else (left, right)
    U, V = with_fixed_signs(U, V)
    triple = U.mT.to(matrix.dtype), (S * unit).to(matrix.dtype), V.to(matrix.dtype)
    if not return_range:
        return triple
    Q = orthonormal_rows(image) if flat else basis
    return (*triple, (Q if len(Q) >= rank else U).mT.to(matrix.dtype))


def range_svd(
    basis: Float[Tensor, "l m"],
    image: Float[Tensor, "l n"],
    rank: int,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "k m"], Float[Tensor, " k"], Float[Tensor, "k n"]]:
    """The leading triples of ``Qᵀ B`` from an orthonormal basis and its image, vectors in rows.

    Args:
        basis: orthonormal rows Q, shape (l, m).
        image: B = Q A, shape (l, n).
        rank: at most min(m, n); values beyond l are zero and their vectors arbitrary.
        generator: random generator that draws the arbitrary vectors.

    Cost: O(l²·n + l·m·rank).

    Source: Halko, Martinsson and Tropp 2011, algorithm 5.1.
    """
    known = min(rank, len(basis))
    if known == 0:
        inner, S, right = image.new_empty(0, 0), image.new_empty(0), image
    else:
        inner, S, right = rows_svd(image, known, generator)
    left = completed_rows(inner @ basis, rank, generator)
    S = torch.cat([S, S.new_zeros(rank - known)])
    return left, S, completed_rows(right, rank, generator)


def _size(rank: int, oversampling: int, power_iterations: int | None, least: int) -> int | None:
    """Dimensions of the range to look for, or None if the full decomposition is cheaper."""
    size = rank + oversampling
    if power_iterations is not None:
        return size if size < least else None
    size = max(size, math.ceil(_BREADTH * rank))
    return size if least > _SMALL and 2 * size < least else None


def _range(
    work: Tensor, size: int, power_iterations: int | None, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Basis and image, in rows."""
    if power_iterations is None:
        return krylov_range(work, size, math.ceil(size / _DEPTH), generator=generator)
    basis = subspace_rows(work, size, power_iterations, generator)
    return basis, basis @ work

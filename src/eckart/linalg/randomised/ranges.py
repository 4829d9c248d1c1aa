"""Orthonormal bases for the range of a matrix, of a given size or to a given error.

The algorithms are those of Halko, Martinsson and Tropp 2011 (0909.4061). Matrices are checked,
detached and computed in float32 (float64 for float64).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eckart.errors import InputError
from eckart.linalg.admissible import admissible_matrix, check_count, check_rank, unit_scale
from eckart.linalg.randomised.gram_svd import full_svd
from eckart.linalg.randomised.krylov import krylov_range
from eckart.linalg.randomised.orthonormal import completed_rows, orthonormal_rows

_PROBES = 10  # vectors of the error bound, which fails with probability min(m, n)·10⁻¹⁰
_TRUSTED = {torch.float32: 3e-3, torch.float64: 1e-6}  # least relative error from ‖A‖² − ‖B‖²


@torch.no_grad()
def range_finder(
    matrix: Tensor, size: int, *, generator: torch.Generator | None = None
) -> Float[Tensor, "m size"]:
    """An orthonormal ``Q`` for the range of ``A Ω`` with Gaussian ``Ω``; O(m·n·size).

    Args:
        matrix: shape (m, n), real floating point.
        size: number of columns, 1 to min(m, n).
        generator: random generator that draws Ω.

    Raises:
        InputError: a size or matrix that is not valid. NonFiniteError for NaN and infinity.

    Source: Halko, Martinsson and Tropp 2011, algorithm 4.1.

    Example:
        >>> range_finder(torch.diag(torch.tensor([2.0, 1.0, 0.0])), 2).shape
        torch.Size([3, 2])
    """
    return subspace_iteration(matrix, size, 0, generator=generator)


@torch.no_grad()
def subspace_iteration(
    matrix: Tensor, size: int, iterations: int, *, generator: torch.Generator | None = None
) -> Float[Tensor, "m size"]:
    """An orthonormal ``Q`` for the range of ``(A Aᵀ)^q A Ω``.

    The basis is made orthonormal after every product. Algorithm 4.3 does not do that, and loses
    every singular value below ``eps^(1/(2q+1))`` of the largest. For one iteration in float32,
    these are all below 0.5 %.

    Args:
        matrix: shape (m, n), real floating point.
        size: number of columns, 1 to min(m, n).
        iterations: q, 0 or more.
        generator: draws Ω, and arbitrary columns if the rank is below ``size``.

    Raises:
        InputError: a size or matrix that is not valid. NonFiniteError for NaN and infinity.

    Cost: O(q·m·n·size).

    Source: Halko, Martinsson and Tropp 2011, algorithms 4.3 and 4.4.

    Example:
        >>> Q = subspace_iteration(torch.diag(torch.tensor([9.0, 3.0, 1.0])), 1, 20)
        >>> abs(round(Q[0].item(), 3))
        1.0
    """
    work = admissible_matrix(matrix)
    check_rank(size, work.shape, "size")
    check_count(iterations, "iterations")
    work = work / unit_scale(work)
    rows = completed_rows(subspace_rows(work, size, iterations, generator), size, generator)
    return rows.mT.to(matrix.dtype)


def subspace_rows(
    matrix: Float[Tensor, "m n"],
    size: int,
    iterations: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "k m"]:
    """`subspace_iteration` of a checked matrix, in rows; fewer if the rank is below ``size``."""
    probe = (size, matrix.shape[1])
    rows = torch.randn(probe, dtype=matrix.dtype, device=matrix.device, generator=generator)
    rows = orthonormal_rows(rows @ matrix.mT)
    for _ in range(iterations):
        rows = orthonormal_rows(rows @ matrix)
        rows = orthonormal_rows(rows @ matrix.mT)
    return rows


@dataclass(frozen=True)
class AdaptiveRange:
    """A basis that is as large as the tolerance requires.

    Attributes:
        basis: Q, orthonormal, shape (m, k).
        image: B = Qᵀ A, shape (k, n).
        error: ``‖A − Q B‖_F / ‖A‖_F``, measured; 0 for a zero matrix.
        spectral_bound: upper bound of ``‖A − Q B‖₂``; fails with probability min(m, n)·10⁻¹⁰.
    """

    basis: Float[Tensor, "m k"]
    image: Float[Tensor, "k n"]
    error: float
    spectral_bound: float


@torch.no_grad()
def adaptive_range(
    matrix: Tensor,
    tolerance: float,
    *,
    block: int = 32,
    max_size: int | None = None,
    generator: torch.Generator | None = None,
) -> AdaptiveRange:
    """About the fewest orthonormal columns with ``‖A − Q Qᵀ A‖_F ≤ tolerance · ‖A‖_F``.

    A Krylov basis grows until it is good enough. Columns that are not needed are then cut off.

    As long as the error is above rounding, it follows from ``‖A‖² − ‖B‖²`` in float64. Below that
    it is measured on ``A − Q B``.

    Args:
        matrix: shape (m, n), real floating point.
        tolerance: relative, between 0 and 1.
        block: columns added at a time.
        max_size: largest number of columns; None sets no limit. At the limit the error of the
            result may be above the tolerance.
        generator: random generator that draws the directions.

    Raises:
        InputError: a tolerance or matrix that is not valid. NonFiniteError for NaN and infinity.

    Cost: O(m·n·k + (m + n)·k²), or O(m·n·k²/block) for a tolerance below 3·10⁻³ in float32.

    Source: Halko, Martinsson and Tropp 2011, algorithm 4.2; Yu, Gu and Li 2018 (1606.09402).

    Example:
        >>> bool(adaptive_range(torch.diag(torch.tensor([4.0, 3.0, 1.0])), 0.1).error <= 0.1)
        True
    """
    work = admissible_matrix(matrix)
    if max_size is not None:
        check_rank(max_size, work.shape, "max_size")
    check_rank(block, (max(block, 1),), "block")
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance={tolerance}: expected a fraction of ‖A‖ between 0 and 1")
    unit = unit_scale(work)
    work = work / unit
    total = float(work.double().square().sum())

    def enough(basis: Tensor, image: Tensor) -> bool:
        left = total - float(image.double().square().sum())
        if max(tolerance, _TRUSTED[work.dtype]) ** 2 * total < left:
            return False
        return tolerance >= _TRUSTED[work.dtype] or _error(work, basis, image) <= tolerance

    size = len(work) if max_size is None else max_size
    grown = krylov_range(work, size, block, generator=generator, enough=enough)
    basis, image = _cut(*grown, work, tolerance)
    bound = float(_residual_norms(work, basis, generator).max()) * _BOUND * unit
    stored = matrix.dtype
    error = _error(work, basis, image)
    return AdaptiveRange(basis.mT.to(stored), (image * unit).to(stored), error, bound)


@torch.no_grad()
def range_error_bound(
    matrix: Tensor, basis: Tensor, *, generator: torch.Generator | None = None
) -> float:
    """A bound on ``‖(I − Q Qᵀ) A‖₂`` that fails with probability at most min(m, n)·10⁻¹⁰.

    The bound is ``10 √(2/π) maxᵢ ‖(I − Q Qᵀ) A ωᵢ‖`` over ten Gaussian vectors ωᵢ. It is typically
    about ten times too large.

    Args:
        matrix: shape (m, n), real floating point.
        basis: orthonormal Q, shape (m, k).
        generator: random generator that draws the vectors.

    Cost: O(m·n + m·k).

    Source: Halko, Martinsson and Tropp 2011, lemma 4.1 and equation 4.3.
    """
    work, Q = admissible_matrix(matrix), admissible_matrix(basis, "basis")
    if len(Q) != len(work):
        raise InputError(f"basis has {len(Q)} rows; expected {len(work)}, as in the matrix")
    return float(_residual_norms(work, Q.mT.to(work.dtype), generator).max()) * _BOUND


_BOUND = 10 * math.sqrt(2 / math.pi)


def _residual_norms(work: Tensor, rows: Tensor, generator: torch.Generator | None) -> Tensor:
    probes = (_PROBES, work.shape[1])
    drawn = torch.randn(probes, dtype=work.dtype, device=work.device, generator=generator)
    seen = drawn @ work.mT
    norms: Tensor = (seen - seen @ rows.mT @ rows).norm(dim=1)
    return norms


def _cut(basis: Tensor, image: Tensor, work: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """The leading components that meet the tolerance."""
    if not len(basis):
        return basis, image
    U, S, V = full_svd(image)
    spent = _error(work, basis, image) ** 2 * float(work.double().square().sum())
    allowed = (0.999 * tolerance) ** 2 * float(work.double().square().sum()) - spent
    tails = S.double().square().flip(0).cumsum(0).flip(0)  # loss of keeping the ones before each
    needed = max(int((tails > allowed).sum()), 1)
    return U[:needed] @ basis, S[:needed, None] * V[:needed]


def _error(work: Tensor, basis: Tensor, image: Tensor) -> float:
    """The measured error, relative to the norm of the matrix."""
    norm = float(work.norm())
    return float(torch.addmm(work, basis.mT, image, alpha=-1).norm()) / norm if norm else 0.0

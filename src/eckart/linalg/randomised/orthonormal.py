"""Orthonormal rows at the cost of matrix products: Cholesky-QR twice, and an SVD if that fails.

All vectors are rows, because a product of rows with a row-major matrix needs no copies.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

Rows = Float[Tensor, "k n"]
OtherRows = Float[Tensor, "j n"]  # a different number of rows


def orthonormal_rows(rows: Rows, floor: float = 0.0) -> OtherRows:
    """An orthonormal basis of the span of the rows; dependent rows drop out.

    The update ``rows ← L⁻¹ rows`` with ``L Lᵀ = rows rowsᵀ`` is done twice. If the rows are too
    close to dependent for that, a singular value decomposition takes its place.

    Args:
        rows: shape (k, n), float32 or float64.
        floor: singular values up to this count as zero, like those below rounding.

    Returns:
        Shape (≤ k, n); no rows if all are zero.

    Cost: O(k²·n), in matrix products.

    Source: Yamamoto, Nakatsukasa, Yanagisawa and Fukaya 2015 (CholeskyQR2).

    Example:
        >>> orthonormal_rows(torch.tensor([[3.0, 0.0], [6.0, 0.0]])).abs()
        tensor([[1., 0.]])
    """
    once = cholesky_rows(rows, floor)
    if once is None:
        return _independent_rows(rows, floor)
    twice = cholesky_rows(once)
    return once if twice is None else twice


def cholesky_rows(rows: Rows, floor: float = 0.0) -> Rows | None:
    """``L⁻¹ rows``, orthonormal up to rounding times the squared condition of the scaled rows.

    Returns:
        Shape (k, n), or None if a pivot is within a hundred roundings of zero, or if a row is not
        longer than ``floor`` once its predecessors are projected out.

    Cost: O(k²·n).
    """
    if rows.shape[0] > rows.shape[1]:
        return None
    gram = (rows @ rows.mT).double()
    lower, info = torch.linalg.cholesky_ex(gram)
    pivots, squares = lower.diagonal().square(), gram.diagonal()
    least = 100 * torch.finfo(rows.dtype).eps * squares
    if bool(info) or bool(((pivots <= least) | (pivots <= floor**2)).any()):
        return None
    eye = torch.eye(len(rows), dtype=lower.dtype, device=lower.device)
    inverse = torch.linalg.solve_triangular(lower, eye, upper=False)
    orthonormal: Tensor = inverse.to(rows.dtype) @ rows
    return orthonormal


def orthonormal_beyond(basis: Float[Tensor, "d n"], rows: Rows) -> OtherRows:
    """Orthonormal rows, orthogonal to a basis, that span what the given rows add to it.

    This is block Gram–Schmidt, repeated while rounding leaves too large an overlap.

    Args:
        basis: orthonormal, shape (d, n).
        rows: shape (k, n).

    Returns:
        Shape (≤ k, n); no rows if all lie in the span of the basis up to rounding.

    Cost: O((d + k)·k·n).
    """
    eps = torch.finfo(rows.dtype).eps
    floor = 10 * eps * float(rows.norm(dim=1).max()) * max(rows.shape[0], 10) ** 0.5
    if not len(basis):
        return orthonormal_rows(rows, floor)
    rows = torch.addmm(rows, rows @ basis.mT, basis, alpha=-1)
    once = cholesky_rows(rows, floor)
    rows = _independent_rows(rows, floor) if once is None else once
    for _ in range(3):
        overlap = rows @ basis.mT
        most = float(overlap.abs().max()) if overlap.numel() else 0.0
        if most > 20 * eps:
            rows = torch.addmm(rows, overlap, basis, alpha=-1)
        again = cholesky_rows(rows, 0.1)
        rows = _independent_rows(rows, 0.1) if again is None else again
        if most < eps**0.5:
            break
    return rows


def completed_rows(rows: Rows, count: int, generator: torch.Generator | None = None) -> OtherRows:
    """Extend orthonormal rows to at least ``count`` by arbitrary ones; O(count²·n)."""
    missing = count - len(rows)
    if missing <= 0:
        return rows
    size = (missing, rows.shape[1])
    fresh = torch.randn(size, dtype=rows.dtype, device=rows.device, generator=generator)
    orthogonal, _ = torch.linalg.qr(torch.cat([rows, fresh]).mT)
    return torch.cat([rows, orthogonal.mT[len(rows) :]])


def with_fixed_signs(left: Rows, right: Float[Tensor, "k p"]) -> tuple[Tensor, Tensor]:
    """Both factors, with signs that make the largest entry of each left row positive."""
    largest = left.gather(1, left.abs().argmax(1, keepdim=True))
    signs = torch.where(largest < 0, -1.0, 1.0).to(left.dtype)
    return left * signs, right * signs


def _independent_rows(rows: Rows, floor: float) -> OtherRows:
    """Right singular vectors whose values are above rounding and above the floor."""
    _, values, basis = torch.linalg.svd(rows, full_matrices=False)
    rounding = torch.finfo(rows.dtype).eps * max(rows.shape) * values[:1].amax()
    independent: Tensor = basis[values > rounding.clamp_min(floor)]
    return independent

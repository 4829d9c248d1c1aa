"""Damping and square roots of second moments."""

from __future__ import annotations

from itertools import combinations_with_replacement

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from eckart.errors import InputError
from eckart.linalg.admissible import admissible_stack

_TILE = 256  # rows of a part of which the transpose is in the cache too
_TINY = 1e-30  # a moment whose mean diagonal is smaller counts as zero


def damped(
    gram: Float[Tensor, "*b n n"], damping: float, noise: float = 0.0
) -> Float64[Tensor, "*b n n"]:
    """Make ``gram`` symmetric and add ``damping`` times its mean diagonal to the diagonal.

    The amount added is never below the noise. In a large moment the noise of the products exceeds
    the damping, eigenvalues turn negative, and Cholesky factorisations fail and fall back to
    slower ways.

    An all-zero moment becomes a tiny multiple of the identity. Decompositions then fall back to the
    unweighted answer with no predicted loss.

    Args:
        gram: second moments, shape (*batch, n, n).
        damping: relative to the mean of the diagonal, at least 0.
        noise: noise of the moments' eigenvalues, relative to the moments' Frobenius norm.

    Raises:
        InputError: a damping below 0 or infinite; an empty, complex or integer moment, or one on
            ``meta``. NonFiniteError for NaN and infinity.
    """
    if not 0 <= damping < float("inf"):
        raise InputError(f"damping={damping}: expected a finite number, 0 or more")
    gram = admissible_stack(gram, "gram")
    scale = gram.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(0)
    rounding = noise * torch.linalg.matrix_norm(gram)
    ridge = (damping * scale).maximum(rounding).clamp_min(_TINY)
    found = symmetric(gram)
    found.diagonal(dim1=-2, dim2=-1).add_(ridge[..., None])
    return found


def symmetric(gram: Float64[Tensor, "*b n n"]) -> Float64[Tensor, "*b n n"]:
    """``(gram + gramᵀ) / 2`` in new memory; large ones tile by tile, in half of the time."""
    if gram.shape[-1] <= 4 * _TILE:
        return (gram + gram.mT).div_(2)
    found, starts = torch.empty_like(gram), range(0, gram.shape[-1], _TILE)
    for row, column in combinations_with_replacement(starts, 2):
        at = ..., slice(row, row + _TILE), slice(column, column + _TILE)
        mirrored = ..., at[2], at[1]
        tile = (gram[at] + gram[mirrored].mT).div_(2)
        found[at], found[mirrored] = tile, tile.mT
    return found


def roots(
    gram: Float64[Tensor, "*b n n"], *, check: bool = True
) -> tuple[Float64[Tensor, "*b n n"], Float64[Tensor, "*b n n"]]:
    """Symmetric square root and inverse square root of damped second moments; O(n³).

    With ``check=False`` the caller has checked the input.
    """
    if check:
        gram = admissible_stack(gram, "gram")
    values, vectors = torch.linalg.eigh(gram)
    floor = values[..., -1:].clamp_min(_TINY) * torch.finfo(gram.dtype).eps
    values = values.clamp_min(floor)[..., None, :]
    return vectors * values.sqrt() @ vectors.mT, vectors * values.rsqrt() @ vectors.mT


def factor(gram: Float64[Tensor, "*b n n"], *, check: bool = True) -> Float64[Tensor, "*b n n"]:
    """An ``F`` with ``F Fᵀ = gram``: Cholesky, or the symmetric root if that fails; O(n³).

    With ``check=False`` the caller has checked the input.
    """
    if check:
        gram = admissible_stack(gram, "gram")
    lower, info = torch.linalg.cholesky_ex(gram)
    return lower if not info.any() else roots(gram, check=False)[0]


def solved_transposed(lift: Tensor, vectors: Tensor) -> Tensor:
    """``lift⁻ᵀ vectors``, by substitution if ``lift`` is triangular."""
    triangular = torch.equal(lift, lift.tril())
    solved: Tensor = (
        torch.linalg.solve_triangular(lift.mT, vectors, upper=True)
        if triangular
        else torch.linalg.solve(lift.mT, vectors)
    )
    return solved


def quadratic_loss(
    change: Float64[Tensor, "*b out in"],
    a: Float64[Tensor, "*b in in"],
    g: Float64[Tensor, "*b out out"],
) -> float:
    """``½ tr(G ΔW A ΔWᵀ)``, summed over groups; O(out·in·(out + in))."""
    named = {"change": change, "a": a, "g": g}
    change, a, g = (admissible_stack(values, name) for name, values in named.items())
    return 0.5 * float(((g @ change @ a) * change).sum())

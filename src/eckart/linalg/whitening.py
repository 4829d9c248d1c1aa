"""Damping and square roots of second moments."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from eckart.errors import InputError
from eckart.linalg.admissible import admissible_stack

_TINY = 1e-30  # the least mean diagonal; below it a moment counts as zero


def damped(
    gram: Float[Tensor, "*b n n"], damping: float, noise: float = 0.0
) -> Float64[Tensor, "*b n n"]:
    """``gram`` made symmetric, plus ``damping`` times its mean diagonal on the diagonal.

    No less is added than the noise: in a large moment that of the products grows beyond the mean
    diagonal, eigenvalues turn negative, and whatever is built on it would go the slow ways round.

    An all-zero moment becomes a minute multiple of the identity, so that what is built on it
    falls back to the unweighted answer at no predicted loss.

    Args:
        gram: second moments, shape (*batch, n, n).
        damping: relative to the mean of the diagonal, from 0 on.
        noise: of the moments' eigenvalues, relative to their Frobenius norm.

    Raises:
        InputError: a negative damping, an empty, complex or integer moment, or one on ``meta``;
            NonFiniteError: NaN or infinity. As for all functions here.
    """
    if not 0 <= damping < float("inf"):
        raise InputError(f"damping={damping}: expected a number from 0 on")
    gram = admissible_stack(gram, "gram")
    scale = gram.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(0)
    rounding = noise * torch.linalg.matrix_norm(gram)
    ridge = (damping * scale).maximum(rounding).clamp_min(_TINY)
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    return (gram + gram.mT) / 2 + ridge[..., None, None] * eye


def roots(
    gram: Float64[Tensor, "*b n n"],
) -> tuple[Float64[Tensor, "*b n n"], Float64[Tensor, "*b n n"]]:
    """Symmetric square root and inverse square root of damped second moments; O(n³)."""
    gram = admissible_stack(gram, "gram")
    values, vectors = torch.linalg.eigh(gram)
    floor = values[..., -1:].clamp_min(_TINY) * torch.finfo(gram.dtype).eps
    values = values.clamp_min(floor)[..., None, :]
    return vectors * values.sqrt() @ vectors.mT, vectors * values.rsqrt() @ vectors.mT


def factor(gram: Float64[Tensor, "*b n n"]) -> Float64[Tensor, "*b n n"]:
    """Some ``F`` with ``F Fᵀ = gram``: Cholesky, or the symmetric root where that fails; O(n³)."""
    gram = admissible_stack(gram, "gram")
    lower, info = torch.linalg.cholesky_ex(gram)
    return lower if not info.any() else roots(gram)[0]


def quadratic_loss(
    change: Float64[Tensor, "*b out in"],
    a: Float64[Tensor, "*b in in"],
    g: Float64[Tensor, "*b out out"],
) -> float:
    """``½ tr(G ΔW A ΔWᵀ)``, summed over groups; O(out·in·(out + in))."""
    named = {"change": change, "a": a, "g": g}
    change, a, g = (admissible_stack(values, name) for name, values in named.items())
    return 0.5 * float(((g @ change @ a) * change).sum())

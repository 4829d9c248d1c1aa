"""The part of a kernel that reads few directions of its input channels, as a smaller problem."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from eckart.linalg.whitening import factor


@dataclass(frozen=True)
class ChannelSubspace:
    """The best kernel on the inputs ``basis @ x``, and what it loses.

    The error of the best kernel is uncorrelated, under ``A``, with everything that reads the same
    directions. So what is lost of this kernel adds to ``left``.

    Attributes:
        basis: directions, shape (few, c).
        kernel: shape (out, few, k).
        a: second moment of the patches of ``basis @ x``.
        left: loss ``½ tr(G ΔW A ΔWᵀ)`` of the best kernel.
    """

    basis: Float64[Tensor, "few c"]
    kernel: Float64[Tensor, "out few k"]
    a: Float64[Tensor, "inner inner"]
    left: float


def channel_subspace(
    kernel: Float64[Tensor, "out c k"],
    a: Float64[Tensor, "in in"],
    g: Float64[Tensor, "out out"],
    few: int,
    seen: Float64[Tensor, "out in"] | None = None,
) -> ChannelSubspace:
    """The directions that are best if ``A`` is a moment of the channels times the identity.

    The kernel on them is the least-squares fit under the full ``A``.

    Cost: O(few·in² + c³), and O(out·in²) unless ``W A`` is given as ``seen``.
    """
    out, c, k = kernel.shape
    blocks = a.view(c, k, c, k)
    root = factor(torch.einsum("ckdk->cd", blocks) / k, check=False)
    lifted = torch.einsum(
        "ock,cd->dok", (factor(g, check=False).mT @ kernel.flatten(1)).view(out, c, k), root
    ).flatten(1)
    gram = lifted @ lifted.mT
    _, vectors = torch.linalg.eigh((gram + gram.mT) / 2)
    basis = torch.linalg.solve_triangular(root.mT, vectors[:, -few:], upper=True).mT
    onto = (basis @ a.view(c, -1)).view(few * k, c * k)  # the moment of the directions with inputs
    inner = torch.einsum("dc,ick->idk", basis, onto.view(few * k, c, k)).reshape(few * k, few * k)
    inner = (inner + inner.mT) / 2
    cross = kernel.flatten(1) @ onto.mT
    fitted = torch.cholesky_solve(cross.mT, factor(inner, check=False)).mT
    seen = kernel.flatten(1) @ a if seen is None else seen
    whole = ((g @ kernel.flatten(1)) * seen).sum()
    left = 0.5 * float(whole - ((g @ fitted) * cross).sum())
    return ChannelSubspace(basis, fitted.reshape(out, few, k), inner, max(0.0, left))

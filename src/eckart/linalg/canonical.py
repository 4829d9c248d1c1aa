"""A convolution kernel as a sum of products of vectors, one over each of its axes (CP).

The alternating least squares are TensorLy's, on the kernel weighted by roots of ``G``, and of the
two marginals of ``A``: over the channels, and over the positions. The last factor is then least
squares under the whole ``A``.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn.functional import normalize

from eckart.errors import InputError
from eckart.linalg.balance import balanced
from eckart.linalg.whitening import factor, quadratic_loss

_ITERATIONS, _TOLERANCE = 50, 1e-6
_RIDGE = 1e-12  # relative to the weighted kernel; keeps collinear components solvable


@dataclass(frozen=True)
class CanonicalFactors:
    """``W[o, c, k] ≈ Σᵣ last[o, r] middle[r, k] first[r, c]``.

    Attributes:
        first: shape (rank, c).
        middle: shape (rank, k).
        last: shape (out, rank).
        loss: predicted loss ``½ tr(G ΔW A ΔWᵀ)``.
    """

    first: Float64[Tensor, "rank c"]
    middle: Float64[Tensor, "rank k"]
    last: Float64[Tensor, "out rank"]
    loss: float


def canonical_factors(
    kernel: Float64[Tensor, "out c k"],
    a: Float64[Tensor, "in in"],
    g: Float64[Tensor, "out out"],
    rank: int,
) -> CanonicalFactors:
    """Components under the weights ``A`` and ``G``, by at most 50 sweeps from the singular vectors.

    Args:
        kernel: weight, its positions as one axis.
        a: damped second moment of the patches, in = c · k ordered (c, k).
        g: damped second moment of the output gradients.
        rank: number of components.

    Raises:
        InputError: TensorLy is not installed.

    Cost: O(sweeps·rank·out·c·k + out·in² + rank·in²).

    Source: Lebedev et al. 2015 (1412.6553); Kossaifi et al. 2019 (1610.09555) for TensorLy.
    """
    _, c, k = kernel.shape
    blocks = a.reshape(c, k, c, k)
    over_channels = factor(blocks.diagonal(dim1=1, dim2=3).mean(-1))
    over_positions = factor(torch.einsum("ckcl->kl", blocks) / c)
    roots = (factor(g).mT, over_channels, over_positions)
    weighted = torch.einsum("ock,po,cd,kl->pdl", kernel, *roots)
    _, channels, positions = _components(weighted, rank)
    first = torch.linalg.solve(over_channels.mT, channels).mT
    middle = torch.linalg.solve(over_positions.mT, positions).mT
    first, middle = normalize(first), normalize(middle)
    rows = torch.einsum("rc,rk->rck", first, middle).flatten(1)
    seen = rows @ a
    last = torch.linalg.lstsq(
        seen @ rows.mT, seen @ kernel.flatten(1).mT, driver="gelsd"
    ).solution.mT
    loss = quadratic_loss(kernel.flatten(1) - last @ rows, a, g)
    first, last = (part[0] for part in balanced(first[None], last[None]))
    return CanonicalFactors(first, middle, last, loss)


def _components(tensor: Tensor, rank: int) -> list[Tensor]:
    """One matrix of components for each axis, by TensorLy on the CPU."""
    try:
        import tensorly
        from tensorly.decomposition import parafac
    except ImportError as error:
        raise InputError("tensorly is not installed: pip install 'eckart[tensor]'") from error
    scaled = tensor / tensor.norm().clamp_min(1e-300)
    with tensorly.backend_context("numpy", local_threadsafe=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # more components than channels are meant
        _, factors = parafac(
            scaled.cpu().numpy(),
            rank,
            n_iter_max=_ITERATIONS,
            tol=_TOLERANCE,
            init="svd",
            random_state=0,
            l2_reg=_RIDGE,
        )
    return [torch.from_numpy(part).to(tensor) for part in factors]

"""A convolution kernel as a sum of products of vectors, one vector for each axis (CP).

Once the vectors over channels and positions are given, the rest is a least-squares problem. The
objective therefore depends on these vectors only (variable projection). It uses the full ``A`` and
``G``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn.functional import normalize

from eckart.linalg.balance import balanced
from eckart.linalg.whitening import damped, factor, quadratic_loss

_ITERATIONS, _HISTORY = 100, 20
_SETTLED = 1e-9  # stop at a smaller step, or a smaller change of the loss (of no kernel: ½)
_RIDGE, _MORE = 1e-9, 1e-6  # relative; they keep the system solvable if components are collinear


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
    """Minimise ``½ tr(G ΔW A ΔWᵀ)`` from random vectors, which are the same in every call.

    With the rows ``V`` = first ⊙ middle, the best last factor is ``W A Vᵀ (V A Vᵀ)⁻¹``. The loss is
    then ``½ tr(G W A Wᵀ) − ½ tr(Fᵀ Vᵀ (V A Vᵀ)⁻¹ V F)`` with ``F = A Wᵀ G^½``. L-BFGS minimises it
    over first and middle.

    Args:
        kernel: weight, with its positions as one axis.
        a: damped second moment of the patches, in = c · k ordered (c, k).
        g: damped second moment of the output gradients.
        rank: number of components.

    Cost: at most about 100 times O(rank·in² + rank·out·in + rank³).

    Source: Golub & Pereyra 1973 for the elimination; Lebedev et al. 2015 (1412.6553) for the use.
    """
    _, c, k = kernel.shape
    weight = kernel.flatten(1)
    root = factor(g)
    seen = a @ (weight.mT @ root)
    whole = max(float(((weight @ seen) * root).sum()), 1e-300)
    generator = torch.Generator().manual_seed(0)
    first, middle = (
        torch.randn(rank, size, generator=generator, dtype=a.dtype).to(a.device).requires_grad_()
        for size in (c, k)
    )
    search = torch.optim.LBFGS(
        [first, middle],
        max_iter=_ITERATIONS,
        history_size=_HISTORY,
        line_search_fn="strong_wolfe",
        tolerance_grad=0.0,
        tolerance_change=_SETTLED,
    )

    def left_over() -> float:
        search.zero_grad()
        rows = _rows(normalize(first), normalize(middle))
        explained, slope = _explained(rows.detach(), a, seen)
        rows.backward(slope / -whole)
        return 1.0 - explained / whole

    with torch.enable_grad():
        search.step(left_over)
    first, middle = normalize(first.detach()), normalize(middle.detach())
    rows = _rows(first, middle)
    weighted = rows @ a
    last = torch.linalg.lstsq(weighted @ rows.mT, weighted @ weight.mT, driver="gelsd").solution.mT
    loss = max(0.0, quadratic_loss(weight - last @ rows, a, g))
    first, last = (part[0] for part in balanced(first[None], last[None]))
    return CanonicalFactors(first, middle, last, loss)


def _rows(first: Tensor, middle: Tensor) -> Tensor:
    """The Khatri-Rao product, shape (rank, c · k)."""
    return torch.einsum("rc,rk->rck", first, middle).flatten(1)


@torch.no_grad()
def _explained(rows: Tensor, a: Tensor, seen: Tensor) -> tuple[float, Tensor]:
    """``tr(Fᵀ Vᵀ (V A Vᵀ)⁻¹ V F)`` and its gradient in the rows V; F is ``seen``."""
    weighted = rows @ a
    gram = weighted @ rows.mT
    gram.diagonal().add_(_RIDGE * gram.diagonal().mean())
    lower, failed = torch.linalg.cholesky_ex(gram)
    if failed:  # collinear to rounding
        lower = torch.linalg.cholesky(damped(gram, _MORE, len(gram) * torch.finfo(gram.dtype).eps))
    onto = rows @ seen
    solved = torch.cholesky_solve(onto, lower)
    slope = 2 * (solved @ seen.mT - solved @ (solved.mT @ weighted))
    return float((solved * onto).sum()), slope

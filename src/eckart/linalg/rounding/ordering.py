"""The order in which variables are rounded: those that matter most first."""

from __future__ import annotations

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

_BLOCK = 64
_TINY = 1e-300


def least_first(moment: Float64[Tensor, "b n n"]) -> Int64[Tensor, "b n"]:
    """Variables so that each next one has the least variance that those before it do not explain.

    Rounding goes from last to first and costs ``Σ D_j``, where the product of all ``D_j`` is the
    determinant, whatever the order. The sum is least where they are equal. A variable has the
    largest D it can have where it comes first, so small ones are put there. On the layers of a
    ResNet-20 the sum is 0.5 to 1.0 of what it is in the given order, for ``A`` and for ``G``.

    Cost: O(n³) in products of blocks, and n steps. It is a Cholesky factorisation that takes the
        smallest pivot.
    """
    b, n = moment.shape[:2]
    least = n * torch.finfo(moment.dtype).eps * moment.abs().amax((1, 2)).clamp_min(_TINY)[:, None]
    left, variance = moment.clone(), moment.diagonal(dim1=1, dim2=2).clone()
    order = torch.empty(b, n, dtype=torch.int64, device=moment.device)
    for start in range(0, n, _BLOCK):
        size = min(_BLOCK, n - start)
        panel = moment.new_zeros(b, size, n)
        for step in range(size):
            found = variance.argmin(1, keepdim=True)
            order[:, start + step] = found[:, 0]
            known = panel[:, :step].gather(2, found[:, None].expand(b, step, 1)).mT
            row = left.gather(1, found[..., None].expand(b, 1, n))
            row = torch.baddbmm(row, known, panel[:, :step], alpha=-1)[:, 0]
            row /= row.gather(1, found).maximum(least).sqrt()
            panel[:, step] = row
            variance -= row.square()
            variance.scatter_(1, found, torch.inf)
        left.baddbmm_(panel.mT, panel, alpha=-1)
    return order

"""What is known of entries while they are rounded, as one stack of equal tensors.

One view then selects the same entries of all of them.
"""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

PARTS = 5


def settle(entries: Float64[Tensor, "5 ..."], top: int) -> Tensor:
    """Round some entries to their grid, in place.

    Args:
        entries: targets, weights, inverse scales, scales and codes of zero. The targets become
            rounding errors (target − value), the weights become losses (weight − value), and the
            inverse scales become codes.
        top: the largest code.

    Returns:
        The losses.
    """
    target, weight, code, scale, zero = entries.unbind()
    torch.addcmul(zero, target, code, out=code).round_().clamp_(0, top)
    value = (code - zero).mul_(scale)
    target.sub_(value)
    return weight.sub_(value)

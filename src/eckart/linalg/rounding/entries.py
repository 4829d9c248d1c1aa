"""What is known of entries while they are rounded, as one stack of equal tensors.

One view then selects the same entries of all of them.
"""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

PARTS = 4
TARGET, LOST, CODE, SCALE = range(PARTS)


def settle(entries: Float64[Tensor, "4 ..."], top: int) -> Tensor:
    """Round some entries to their grid, in place.

    Args:
        entries: targets and weights above the value of code 0, inverse scales, and scales. The
            targets become rounding errors (target − value), the weights become losses (weight −
            value), and the inverse scales become codes.
        top: the largest code.

    Returns:
        The losses.
    """
    target, lost, code, scale = entries.unbind()
    torch.mul(target, code, out=code).round_().clamp_(0, top)
    entries[: LOST + 1].sub_(code * scale)
    return lost

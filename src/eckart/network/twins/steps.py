"""Sequences, padded or packed, as steps in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Steps:
    """How the rows of a tensor make up sequences.

    Attributes:
        axis: of time in a padded tensor, 0 or 1, whose other axis is that of the sequences.
        sizes: of a packed tensor: how many sequences are under way at each step; None if padded.
    """

    axis: int
    sizes: Tensor | None = None

    def split(self, x: Tensor) -> Sequence[Tensor]:
        """Step by step, (sequences, features)."""
        return x.unbind(self.axis) if self.sizes is None else x.split(self.sizes.tolist())

    def joined(self, steps: Sequence[Tensor]) -> Tensor:
        """The inverse of ``split``."""
        return torch.stack(list(steps), self.axis) if self.sizes is None else torch.cat(list(steps))

    def width(self, x: Tensor) -> int:
        """The number of sequences."""
        return x.shape[1 - self.axis] if self.sizes is None else int(self.sizes[0])

    def backwards(self, x: Tensor) -> Tensor:
        """Every sequence from its own end to its beginning."""
        if self.sizes is None:
            return x.flip(self.axis)
        sizes = self.sizes.to(x.device)
        starts = sizes.cumsum(0) - sizes
        step = torch.repeat_interleave(torch.arange(len(sizes), device=x.device), sizes)
        sequence = torch.arange(len(x), device=x.device) - starts[step]
        lengths = (sizes[:, None] > torch.arange(int(sizes[0]), device=x.device)).sum(0)
        mirrored = lengths[sequence] - 1 - step
        return x[starts[mirrored] + sequence]

    def dropped(self, x: Tensor, share: float) -> Tensor:
        """Dropout, whose random numbers are drawn step by step as torch's layers draw them."""
        if self.sizes is not None or self.axis == 0:
            return F.dropout(x.contiguous(), share)
        return F.dropout(x.transpose(0, 1).contiguous(), share).transpose(0, 1)

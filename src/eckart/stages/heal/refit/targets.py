"""The output that a layer should give so that the network continues as its teacher does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from eckart.stages.heal.channels import Kept, along
from eckart.stages.heal.refit.flow import Tail, Values

_LEAST = 1e-3  # of the largest scale; a norm with a smaller scale hides what the layer does


@dataclass(frozen=True)
class Affine:
    """What a norm does to its channels in eval mode: ``z = scale · y + shift``."""

    scale: Float64[Tensor, " channels"]
    shift: Float64[Tensor, " channels"]

    @classmethod
    def of(cls, norm: nn.Module | None, width: int, like: Tensor) -> Affine:
        """The map of a norm; the identity if there is none."""
        if norm is None:
            one = torch.ones(width, dtype=torch.float64, device=like.device)
            return cls(one, torch.zeros_like(one))
        numbers = {k: v.double() for k, v in norm.state_dict().items()}
        scale = (numbers["running_var"] + cast(float, norm.eps)).rsqrt() * numbers.get("weight", 1)
        shift = numbers.get("bias", 0) - scale * numbers["running_mean"]
        return cls(scale, shift)

    @property
    def visible(self) -> Tensor:
        """Channels whose scale is large enough to be divided by."""
        size = self.scale.abs()
        return size > _LEAST * size.max()

    def inverse(self) -> Affine:
        """Maps the norm's output to its input; the identity for channels that are not visible."""
        scale = torch.where(self.visible, 1 / self.scale, 1.0)
        return Affine(scale, torch.where(self.visible, -self.shift * scale, 0.0))

    def then(self, other: Affine) -> Affine:
        """Both maps in a row, this one first."""
        return Affine(other.scale * self.scale, other.scale * self.shift + other.shift)

    def __call__(self, y: Tensor, axis: int) -> Tensor:
        return y * along(self.scale, y, axis) + along(self.shift, y, axis)


def target(theirs: Values, ours: Values, tail: Tail, kept: Kept, norm: Affine, axis: int) -> Tensor:
    """The output that a layer should give.

    It is the teacher's output after its norm, plus what the shortcut lacks, pulled back through the
    smaller network's norm. If only the positive part is passed on and the teacher's value is not
    positive, any negative output is right, so the layer's own output is the target.

    Source: asymmetric reconstruction and rectified targets, Zhang et al. 2015 (1505.06798).
    """
    wanted, now = kept.of(theirs.z, axis), ours.z
    passed = torch.zeros_like(now)
    if theirs.shortcut is not None and ours.shortcut is not None:
        shortcut = kept.of(theirs.shortcut, axis)
        if shortcut.shape == ours.shortcut.shape == now.shape:
            wanted, passed = wanted + shortcut, ours.shortcut
    if tail.rectified:
        wanted = torch.where(wanted > 0, wanted, (now + passed).clamp_max(0))
    pulled = norm.inverse()(wanted - passed, axis)
    return torch.where(along(norm.visible, pulled, axis) > 0, pulled, kept.of(theirs.y, axis))

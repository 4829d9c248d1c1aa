"""The values that a rounded weight may take."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from eckart.errors import InputError


@dataclass(frozen=True, eq=False)
class Grid:
    """``scale · (code − zero)``, where the codes are 0 to ``2**bits − 1``.

    Attributes:
        scale: as it is stored, shape (*b, out, spans). It may be negative, which gives the larger
            half of a symmetric grid to positive weights, and it is 0 where all weights are.
        zero: the code of zero, shape (*b, out, spans). None is a symmetric grid, for which nothing
            is stored: `centre` is the code of zero.
        bits: 2 to 8.
        span: how many inputs share a scale; the last span of a row may be shorter.
    """

    scale: Float[Tensor, "*b out spans"]
    zero: UInt8[Tensor, "*b out spans"] | None
    bits: int
    span: int

    @property
    def top(self) -> int:
        """The largest code."""
        return (1 << self.bits) - 1

    def values(self, codes: UInt8[Tensor, "*b out in"]) -> Float32[Tensor, "*b out in"]:
        """What codes stand for, in float32; O(out · in)."""
        inputs = codes.shape[-1]
        return (codes - self.over(inputs, self.origin)).mul_(self.over(inputs, self.scale.float()))

    @property
    def origin(self) -> Float32[Tensor, "*b out spans"]:
        """The code of zero of each span, in float32; one half above a code if bits is 2."""
        if self.zero is None:
            return torch.full_like(self.scale, centre(self.bits), dtype=torch.float32)
        return self.zero.float()

    def over(self, inputs: int, values: Tensor) -> Tensor:
        """Values of spans as values of inputs."""
        return values.repeat_interleave(self.span, -1)[..., :inputs]


def centre(bits: int) -> float:
    """The code of zero in a symmetric grid.

    With four values, it pays to have two on each side and none at zero.
    """
    return 1.5 if bits == 2 else float(2 ** (bits - 1))


def span_width(inputs: int, span: int | None) -> int:
    """The inputs that share a scale; None and more than a row are the whole row.

    Raises:
        InputError: a span below 1.
    """
    if span is not None and span < 1:
        raise InputError(f"span={span}: expected at least 1 input per scale, or None for a row")
    return inputs if span is None else min(span, inputs)

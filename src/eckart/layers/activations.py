"""Activations rounded to 8 bits: what goes into a layer, and what comes out of a convolution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isclose
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eckart.records import Piece

TOP = 255  # the largest code
_CLOSE = 1e-5


@dataclass(frozen=True)
class Levels:
    """``scale · (code − zero)`` for codes from 0 to 255: the numbers that a tensor may hold.

    Attributes:
        scale: the step between two of them.
        zero: the code of zero.
    """

    scale: float
    zero: int

    def is_near(self, other: Levels) -> bool:
        """Whether they are the same but for the rounding of the scale."""
        return self.zero == other.zero and isclose(self.scale, other.scale, rel_tol=_CLOSE)

    def rounded(self, x: Tensor) -> Tensor:
        """The nearest of these numbers in float32; halves go to even codes."""
        return _rounded(x, self.scale, self.zero)


@final
class Activations(nn.Module):
    """Rounds the input and the output of one layer, as kernels for whole numbers do.

    A norm after a convolution is folded into it where it runs in whole numbers, so what has one
    scale is the output of the norm. Before the norm, each channel has a scale of its own.

    Attributes:
        input: scale and code of zero of what comes in; with the scale 0, as before ``take``, it is
            not rounded.
        output: of a convolution, two numbers per channel: ``factor · y + offset`` is the code of an
            output ``y``. A channel with the factor 0 is not rounded.
    """

    def __init__(self, piece: Piece, device: torch.device) -> None:
        super().__init__()
        self.input: Tensor
        self.output: Tensor | None
        self.register_buffer("input", torch.zeros(2, device=device))
        output = torch.zeros(2, piece.outputs, device=device) if piece.kernel else None
        self.register_buffer("output", output)
        self._axes = len(piece.kernel)

    @property
    def levels(self) -> Levels:
        """What the input is rounded to."""
        scale, zero = self.input.tolist()
        return Levels(scale, round(zero))

    def take(self, levels: Levels, output: Float[Tensor, "2 outputs"] | None = None) -> None:
        """Set what to round to."""
        self.input.copy_(torch.tensor([levels.scale, float(levels.zero)]))
        if output is not None and self.output is not None:
            self.output.copy_(output)

    def before(self, x: Tensor) -> Tensor:
        """The rounded input; gradients pass as if it were not rounded."""
        scale, zero = self.input
        free = scale == 0
        values = _rounded(x, torch.where(free, 1.0, scale), zero)
        return _passing(x, torch.where(free, x.float(), values))

    def after(self, y: Tensor) -> Tensor:
        """The rounded output; gradients pass as if it were not rounded."""
        if self.output is None:
            return y
        factor, offset = self.output.reshape(2, -1, *[1] * self._axes)
        codes = (y.float() * factor + offset).round().clamp(0, TOP)
        free = factor == 0
        values = torch.where(free, y.float(), (codes - offset) / torch.where(free, 1.0, factor))
        return _passing(y, values)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Activations:
        """As every module does, but the numbers stay in float32, because files count on it."""

        def moved(tensor: Tensor) -> Tensor:
            new = fn(tensor)
            return new.float() if tensor.is_meta else tensor.to(new.device)

        super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return self

    def extra_repr(self) -> str:
        """What the input is rounded to."""
        return "" if self.input.is_meta else f"input {self.levels}"


def _rounded(x: Tensor, scale: Any, zero: Any) -> Tensor:
    codes = ((x.float() / scale).round() + zero).clamp(0, TOP)
    values: Tensor = (codes - zero) * scale
    return values


def _passing(x: Tensor, rounded: Tensor) -> Tensor:
    """A rounded tensor with the gradient of the one that it was made from."""
    found = rounded.to(x.dtype)
    return x + (found - x).detach() if x.requires_grad else found

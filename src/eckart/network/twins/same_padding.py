"""Convolutions that pad by the size of their input, as TensorFlow's ``SAME`` does."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn
from torch.nn import functional as F

from eckart.layers import piece_of


@final
class SamePadded(nn.Module):
    """Pads each axis so that its outputs are as many as strides fit in it; then convolves.

    Where the padding of an axis is odd, there is more of it at the end.

    Attributes:
        convolution: a plain layer without padding.
    """

    def __init__(self, convolution: nn.Module) -> None:
        """Around a plain convolution."""
        super().__init__()
        piece = piece_of(convolution)
        self.convolution = convolution
        self.axes = list(zip(piece.kernel, piece.stride, piece.dilation, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Zeros around, then the layer."""
        padding: list[int] = []
        sizes = x.shape[-len(self.axes) :]
        for size, (kernel, stride, dilation) in zip(
            reversed(sizes), reversed(self.axes), strict=True
        ):
            needed = ((size + stride - 1) // stride - 1) * stride + (kernel - 1) * dilation + 1
            more = max(needed - size, 0)
            padding += [more // 2, more - more // 2]
        y: Tensor = self.convolution(F.pad(x, padding))
        return y

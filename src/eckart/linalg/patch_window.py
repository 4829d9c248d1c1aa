"""Where a convolution's patches lie."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """Geometry of a convolution with zero padding: one number per spatial axis.

    Attributes:
        kernel: its length is the number of axes; the defaults of the others suit up to three.
        stride, padding, dilation: as in ``torch.nn.Conv2d``.
        groups: of channels.
    """

    kernel: Sizes
    stride: Sizes = (1, 1, 1)
    padding: Sizes = (0, 0, 0)
    dilation: Sizes = (1, 1, 1)
    groups: int = 1

    @property
    def taps(self) -> int:
        """Pixels under the kernel."""
        return prod(self.kernel)

    def positions(self, axis: int, size: int) -> int:
        """Number of window positions along an axis of ``size`` pixels."""
        span = self.dilation[axis] * (self.kernel[axis] - 1)
        return (size + 2 * self.padding[axis] - span - 1) // self.stride[axis] + 1

    def seen(self, axis: int, size: int, offset: int, difference: int) -> range:
        """Pixels under ``offset``, for the positions where ``offset + difference`` has one too."""
        step, shift = self.stride[axis], difference * self.dilation[axis]
        start = offset * self.dilation[axis] - self.padding[axis]
        stop = start + step * (self.positions(axis, size) - 1) + 1
        low, high = max(0, -shift), size - max(0, shift)
        skipped = max(0, -((start - low) // step))
        first = start + step * skipped
        return range(first, max(first, min(stop, high)), step)

    def of_axes(self, axes: tuple[int | None, ...]) -> Window:
        """The window on these axes, in this order; None is an axis on which it does nothing."""
        return Window(
            tuple(1 if a is None else self.kernel[a] for a in axes),
            tuple(1 if a is None else self.stride[a] for a in axes),
            tuple(0 if a is None else self.padding[a] for a in axes),
            tuple(1 if a is None else self.dilation[a] for a in axes),
            self.groups,
        )

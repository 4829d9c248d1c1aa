"""Blocks of the patch moment of maps with two axes, without unfolding them.

With ``p`` running over output positions, the patch moment is
``A[(c, k), (c', k')] = sum_p x[c, s p + k] x[c', s p + k']``. Apart from the window that ``p`` runs
over, it depends on the kernel offsets ``k, k'`` only through their difference. So the map is
multiplied once by each of its shifts. From one offset to the next a window gains a row and loses
another; the part outside a window of columns is subtracted: strips of columns, which are windowed
in the rows in turn. Rows may have any stride. With a stride along the columns the map is unfolded
in that one direction.
"""

from __future__ import annotations

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from eckart.linalg.patch_window import Window

Gram = Float[Tensor, "groups c c"]
Maps = Float[Tensor, "groups c _ _"]
Block = tuple[int, int, slice, slice, Float[Tensor, "groups c kx c2 kx2"]]
"""Two rows of the kernel, some of its columns for each, and the products of pixels there."""
_NARROW = 8  # channels below which unfolding along the row is cheaper than shifting
_LONG = 4  # times the channels: a kernel from which there are too many small products
_WIDE = 256  # channels from which one long product beats a batch of short ones
_SHORT = 32  # length of a row below which one long product beats a batch of short ones


def patch_blocks(x: Float[Tensor, "n c h w"], window: Window) -> Iterator[Block]:
    """The blocks of all pairs of kernel rows with ky ≤ ky2; the others are their transposes."""
    shifts = window.stride[1] == 1 and not is_narrow(x, window)
    return _shifted(x, window) if shifts else _unfolded(x, window)


def is_narrow(x: Float[Tensor, "n c *size"], window: Window) -> bool:
    """Whether the maps have so few channels that unfolding them is cheaper."""
    channels = x.shape[1] // window.groups
    return channels < _NARROW or max(window.kernel) > _LONG * channels


def _unfolded(x: Tensor, window: Window) -> Iterator[Block]:
    """Blocks from maps unfolded along their columns, for any horizontal stride."""
    n, c, h, w = x.shape
    kw, groups = window.kernel[1], window.groups
    maps = x.new_zeros(kw, c, h, n, window.positions(1, w))
    for kx in range(kw):
        pixels = window.seen(1, w, kx, 0)
        first = (pixels.start - kx * window.dilation[1] + window.padding[1]) // window.stride[1]
        maps[kx, ..., first : first + len(pixels)] = x[..., _slice(pixels)].permute(1, 2, 0, 3)
    flat = maps.unflatten(1, (groups, -1)).permute(1, 2, 0, 3, 4, 5).flatten(4).flatten(1, 2)
    for dy in range(window.kernel[0]):
        for ky, gram in _row_windows(flat, flat, dy, window):
            blocks = gram.unflatten(2, (-1, kw)).unflatten(1, (-1, kw))
            yield ky, ky + dy, slice(kw), slice(kw), blocks


def _shifted(x: Tensor, window: Window) -> Iterator[Block]:
    """Blocks from the flattened rows and their shifts, for horizontal stride 1."""
    n, c, h, w = x.shape
    (kh, kw), step = window.kernel, window.dilation[1]
    gap = step * (kw - 1)
    spaced = F.pad(x, (0, gap)).permute(1, 2, 0, 3).contiguous()  # c, h, n, w + gap
    maps = spaced.reshape(window.groups, c // window.groups, h, n, w + gap)
    edges = _Edges(maps[..., :w], 2 * gap)
    for dy in range(kh):
        for dx in range(0 if dy == 0 else 1 - kw, kw):
            left, right = _overlap(maps.flatten(3), dx * step)
            whole = dict(_row_windows(left, right, dy, window))
            for kx in range(max(0, -dx), min(kw, kw - dx)):
                strips = _strips(edges, window, kx, dx)
                unseen = [dict(_row_windows(*strip, dy, window)) for strip in strips]
                columns = slice(kx, kx + 1), slice(kx + dx, kx + dx + 1)
                for ky, gram in whole.items():
                    block = gram - sum(s[ky] for s in unseen)
                    yield ky, ky + dy, *columns, block[:, :, None, :, None]


class _Edges:
    """The outermost columns of the maps, where windows end, stored column by column."""

    def __init__(self, maps: Float[Tensor, "groups c h n w"], reach: int) -> None:
        self.width = maps.shape[-1]
        self.whole = self.width <= 2 * reach
        parts = [maps] if self.whole else [maps[..., :reach], maps[..., self.width - reach :]]
        self._parts = [part.transpose(3, 4).contiguous() for part in parts]

    def columns(self, start: int, stop: int) -> Maps:
        """Columns ``start`` to ``stop`` as rows; all lie within reach of one edge."""
        part = self._parts[0]
        if stop > part.shape[3]:
            part, offset = self._parts[1], self.width - self._parts[1].shape[3]
            start, stop = start - offset, stop - offset
        return part[:, :, :, start:stop].flatten(3)


def _overlap(flat: Maps, shift: int) -> tuple[Maps, Maps]:
    """The parts of the flattened rows that overlap after a shift."""
    length = flat.shape[-1] - abs(shift)
    a, b = max(-shift, 0), max(shift, 0)
    return flat[..., a : a + length], flat[..., b : b + length]


def _strips(edges: _Edges, window: Window, kx: int, dx: int) -> list[tuple[Maps, Maps]]:
    """The pixels left and right of the columns under offset ``kx``, with their partners."""
    width, shift = edges.width, dx * window.dilation[1]
    seen, low, high = window.seen(1, width, kx, dx), max(0, -shift), width - max(0, shift)
    ends = [(low, min(seen.start, high)), (seen.stop, high)]
    return [(edges.columns(a, b), edges.columns(a + shift, b + shift)) for a, b in ends if a < b]


def _row_windows(left: Maps, right: Maps, dy: int, window: Window) -> Iterator[tuple[int, Gram]]:
    """For every kernel row ``ky``, the product of its window of rows with the rows ``dy`` below.

    With stride 1 a window differs from the one before by a few rows. They are added and taken away
    in float64, so nothing drifts.
    """
    height, shift = left.shape[2], dy * window.dilation[0]
    depth = max(0, height - shift)
    upper, lower = left[:, :, :depth], right[:, :, shift:]

    def product(rows: range) -> Tensor:
        return _contract(upper[:, :, _slice(rows)], lower[:, :, _slice(rows)])

    before, total = range(0), None
    for ky in range(window.kernel[0] - dy):
        rows = window.seen(0, height, ky, dy)
        if total is None or window.stride[0] > 1 or rows.start >= before.stop:
            gram = product(rows)
            total = gram.double() if window.stride[0] == 1 else None
        else:
            for part, sign in _exchanged(before, rows):
                total = total + sign * product(part)
            gram = total.to(left.dtype)
        before = rows
        yield ky, gram


def _exchanged(before: range, after: range) -> Iterator[tuple[range, int]]:
    """The rows that a window loses when it moves on, with -1, and those that it gains, with 1."""
    parts = (range(before.start, after.start), -1), (range(before.stop, after.stop), 1)
    return ((part, sign) for part, sign in parts if part)


def _contract(left: Maps, right: Maps) -> Gram:
    """``sum left rightᵀ`` over rows and columns."""
    if left.shape[1] >= _WIDE or left.shape[3] < _SHORT:
        return left.flatten(2) @ right.flatten(2).mT
    return (left.permute(2, 0, 1, 3) @ right.permute(2, 0, 3, 1)).sum(0)


def _slice(pixels: range) -> slice:
    return slice(pixels.start, pixels.stop, pixels.step)

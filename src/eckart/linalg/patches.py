"""Second moment of convolution patches, without unfolding the feature map.

With ``p`` running over output positions, the patch moment is
``A[(c, k), (c', k')] = sum_p x[c, s p + k] x[c', s p + k']``. Apart from the window that ``p`` runs
over, it depends on the kernel offsets ``k, k'`` only through their difference. So the map is
multiplied once by each of its shifts, and the part outside a window is subtracted: strips of rows,
and strips of columns which are windowed in the rows in turn (inclusion and exclusion). Rows may
have any stride. With a stride along the columns the map is unfolded in that one direction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Pair = tuple[int, int]
Gram = Float[Tensor, "groups c c"]
Maps = Float[Tensor, "groups c _ _"]
_WIDE = 256  # channels from which one long product beats a batch of short ones
_NARROW = 8  # channels below which unfolding along the row is cheaper than shifting


@dataclass(frozen=True)
class Window:
    """Geometry of a two-dimensional convolution with zero padding."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

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


def row_gram(rows: Float[Tensor, "n groups c positions"]) -> Gram:
    """``sum x xᵀ`` over examples and positions; O(n · positions · c²) per group."""
    n, groups, channels, positions = rows.shape
    if positions >= channels:
        batch = rows.reshape(n * groups, channels, positions)
        return (batch @ batch.mT).reshape(n, groups, channels, channels).sum(0)
    flat = rows.permute(1, 2, 0, 3).reshape(groups, channels, n * positions)
    return flat @ flat.mT


def patch_total(x: Float[Tensor, "n c h w"], window: Window) -> Float[Tensor, "groups patch"]:
    """Sum of all patches, with entries ordered (channel, ky, kx) as in a flattened weight."""
    plane = x.sum(0)
    kh, kw = window.kernel
    total = x.new_zeros(len(plane), kh, kw)
    for ky in range(kh):
        rows = plane[:, _slice(window.seen(0, x.shape[2], ky, 0))].sum(1)
        for kx in range(kw):
            total[:, ky, kx] = rows[:, _slice(window.seen(1, x.shape[3], kx, 0))].sum(1)
    return total.reshape(window.groups, -1)


def patch_gram(x: Float[Tensor, "n c h w"], window: Window) -> Float[Tensor, "groups patch patch"]:
    """``sum u uᵀ`` over all patches ``u`` of the zero-padded maps ``x``, exact at the border.

    Args:
        x: feature maps without their padding, shape (n, channels, height, width).
        window: kernel, stride, padding, dilation, groups.

    Returns:
        Shape (groups, patch, patch) with patch = channels / groups · kh · kw, entries ordered
        (channel, ky, kx) as in a flattened convolution weight.

    Cost: (kh (2 kw - 1) - kw + 1) products of O(n h w c²) with horizontal stride 1, which is 13 for
        a 3×3 kernel; kh (kh + 1) / 2 · kw² / stride products with another stride. An unfold would
        cost kh² kw².
    """
    (kh, kw), groups = window.kernel, window.groups
    channels = x.shape[1] // groups
    products = _shifted if window.stride[1] == 1 and channels >= _NARROW else _unfolded
    gram = x.new_empty(groups, channels, kh, kw, channels, kh, kw)
    for ky, kx, ky2, kx2, block in products(x, window):
        gram[:, :, ky, kx, :, ky2, kx2] = block
        gram[:, :, ky2, kx2, :, ky, kx] = block.mT
    return gram.reshape(groups, channels * kh * kw, channels * kh * kw)


Block = tuple[int, int, int, int, Gram]


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
            for kx in range(kw):
                for other in range(kw):
                    yield ky, kx, ky + dy, other, blocks[:, :, kx, :, other]


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
                for ky, gram in whole.items():
                    yield ky, kx, ky + dy, kx + dx, gram - sum(s[ky] for s in unseen)


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
    """For every kernel row ``ky``, the product of its window of rows with the rows ``dy`` below."""
    height, shift = left.shape[2], dy * window.dilation[0]
    depth = max(0, height - shift)
    upper, lower = left[:, :, :depth], right[:, :, shift:]
    shared = window.stride[0] == 1 and window.kernel[0] - dy > 1
    whole = _contract(upper, lower) if shared else None
    for ky in range(window.kernel[0] - dy):
        rows = window.seen(0, height, ky, dy)
        if whole is None:
            yield ky, _contract(upper[:, :, _slice(rows)], lower[:, :, _slice(rows)])
            continue
        gram = whole
        for outside in (slice(0, rows.start), slice(rows.stop, depth)):
            if outside.start < outside.stop:
                gram = gram - _contract(upper[:, :, outside], lower[:, :, outside])
        yield ky, gram


def _contract(left: Maps, right: Maps) -> Gram:
    """``sum left rightᵀ`` over rows and columns."""
    if left.shape[1] >= _WIDE:
        return left.flatten(2) @ right.flatten(2).mT
    return (left.permute(2, 0, 1, 3) @ right.permute(2, 0, 3, 1)).sum(0)


def _slice(pixels: range) -> slice:
    return slice(pixels.start, pixels.stop, pixels.step)

"""Second moment of convolution patches, for one, two or three axes.

One and three axes are brought to two, see ``planar``; ``patch_blocks`` multiplies these.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from eckart.linalg.patch_blocks import Gram, is_narrow, patch_blocks
from eckart.linalg.patch_window import Window

PatchGram = Float[Tensor, "groups patch patch"]


def row_gram(rows: Float[Tensor, "n groups c positions"]) -> Gram:
    """``sum x xᵀ`` over examples and positions; O(n · positions · c²) per group."""
    n, groups, channels, positions = rows.shape
    if positions >= channels:
        batch = rows.reshape(n * groups, channels, positions)
        return (batch @ batch.mT).reshape(n, groups, channels, channels).sum(0)
    flat = rows.permute(1, 2, 0, 3).reshape(groups, channels, n * positions)
    return flat @ flat.mT


def patch_total(x: Float[Tensor, "n c *size"], window: Window) -> Float[Tensor, "groups patch"]:
    """Sum of all patches, with entries ordered (channel, *kernel) as in a flattened weight.

    Cost: O(n · c · pixels), and for each axis O(c · pixels · kernel).
    """
    total = x.sum(0)
    for axis, size in enumerate(x.shape[2:]):
        total = torch.tensordot(total, _sight(window, axis, size).to(x), ([1], [1]))
    return total.reshape(window.groups, -1)


def patch_gram(x: Float[Tensor, "n c *size"], window: Window) -> PatchGram:
    """``sum u uᵀ`` over all patches ``u`` of the zero-padded maps ``x``, exact at the border.

    Args:
        x: feature maps without their padding, with one to three spatial axes.
        window: kernel, stride, padding, dilation, groups.

    Returns:
        Shape (groups, patch, patch) with patch = channels / groups · kernel, entries ordered
        (channel, *kernel) as in a flattened convolution weight.

    Cost: in products of O(n · pixels · c²), where an unfold would take kernel². For one axis with
        stride 1: k. For two with stride 1: kh (2 kw - 1) - kw + 1, which is 13 for 3×3; with
        another stride at most kh (kh + 1) / 2 · kw² / stride. For three: those of the two longer
        axes, times k² for the shortest one, which is unfolded; 117 for 3×3×3.
    """
    flat = planar(x, window)
    channels, (kh, kw) = flat.maps.shape[1] // window.groups, flat.window.kernel
    gram = x.new_empty(window.groups, kh, kw, kh, kw, channels, channels)
    for ky, ky2, kx, kx2, block in patch_blocks(flat.maps, flat.window):
        gram[:, ky, kx, ky2, kx2] = block.permute(0, 2, 4, 1, 3)
        gram[:, ky2, kx2, ky, kx] = block.permute(0, 4, 2, 3, 1)
    gram = gram.permute(0, 5, 1, 2, 6, 3, 4).flatten(4).flatten(1, 3)
    entries = flat.entries.flatten().tolist()
    if entries == sorted(entries):
        return gram
    order = flat.entries.flatten().argsort().to(x.device)
    return gram[:, order][:, :, order]


@dataclass(frozen=True)
class Planar:
    """Maps with two spatial axes that have the same patches as maps with one to three.

    Attributes:
        maps: with two axes.
        window: what runs over them.
        entries: which entry of the original patch each entry of a patch is.
    """

    maps: Float[Tensor, "n c h w"]
    window: Window
    entries: Int64[Tensor, "row kh kw"]


def planar(x: Float[Tensor, "n c *size"], window: Window) -> Planar:
    """Bring maps to two axes, in the orientation in which their moments take fewest products.

    An axis is missing: it is added. There is one too many: the shortest kernel is unfolded into the
    channels. Few channels are unfolded along the columns, so the longer kernel comes last; of many
    the rows are shifted, so it comes first.
    """
    narrow = is_narrow(x, window)
    entries = torch.arange(x.shape[1] // window.groups * window.taps)
    entries = entries.reshape(-1, *window.kernel)
    if x.dim() == 5:
        return _folded(x, window, entries)
    if x.dim() == 3:
        at = 0 if narrow else 1
        x, entries = x.unsqueeze(at + 2), entries.unsqueeze(at + 1)
        return Planar(x, window.of_axes((None, 0) if narrow else (0, None)), entries)
    tall, wide = window.kernel
    if (tall > wide) if narrow else (wide > tall):
        return Planar(x.mT, window.of_axes((1, 0)), entries.mT)
    return Planar(x, window, entries)


def _folded(x: Tensor, window: Window, entries: Tensor) -> Planar:
    """Unfold the axis of the shortest kernel: its taps become channels, its positions examples."""
    axis = min(range(3), key=lambda i: window.kernel[i])
    pad, step = window.padding[axis], window.dilation[axis]
    span = step * (window.kernel[axis] - 1) + 1
    moved = F.pad(x.movedim(axis + 2, -1), (pad, pad))
    taps = moved.unfold(-1, span, window.stride[axis])[..., ::step]  # n c h w positions taps
    maps = taps.permute(0, 4, 1, 5, 2, 3).flatten(0, 1).flatten(1, 2)
    found = planar(maps, window.of_axes(tuple(a for a in range(3) if a != axis)))
    order = entries.movedim(axis + 1, 1).flatten()
    return Planar(found.maps, found.window, order[found.entries])


def _sight(window: Window, axis: int, size: int) -> Float[Tensor, "kernel size"]:
    """1 where a pixel is under an offset of the kernel at some position; else 0."""
    seen = torch.zeros(window.kernel[axis], size)
    for offset in range(window.kernel[axis]):
        pixels = window.seen(axis, size, offset, 0)
        seen[offset, pixels.start : pixels.stop : pixels.step] = 1.0
    return seen

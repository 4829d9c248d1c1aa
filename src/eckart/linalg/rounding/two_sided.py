"""Rounding with feedback from both sides, along anti-diagonals of tiles.

The target of entry (i, j) is ``W_ij + (L_Gᵀ E L_A)_ij − E_ij``. It needs what has been lost in rows
from i on and columns from j on. Entries with equal i + j do not need each other. So the matrix is
cut into tiles, the tiles of one anti-diagonal are rounded together, and inside them the entries of
one anti-diagonal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn.functional import pad

from eckart.linalg.rounding.entries import PARTS, settle

_SIDE = 64  # of a tile, at most
_TARGET, _LOST, _PASSED = 0, 1, PARTS


def round_both_ways(
    entries: Float64[Tensor, "5 b out in"],
    lower: Float64[Tensor, "b in in"],
    lower_out: Float64[Tensor, "b out out"],
    top: int,
) -> None:
    """Round ``W + L_Gᵀ E L_A − E`` from the last entry to the first, in place.

    Args:
        entries: as `settle` takes and leaves them; the targets need not be set.
        lower: L_A, unit lower triangular.
        lower_out: L_G, unit lower triangular.
        top: the largest code.

    Cost: out · in · (out + in) / 2 multiply-adds in products of tiles, and about 100 · out · in
        elementwise inside them; 2 (out + in) steps of a dozen calls each.

    Source: Tseng et al. 2025 (2505.22988), YAQA, whose Hessians are Kronecker products.
    """
    out, inputs = entries.shape[2:]
    board = _board(entries, lower, lower_out)
    down, across = board.tiles.shape[2:4]
    for wave in range(down + across - 2, -1, -1):
        rows = torch.arange(max(0, wave - across + 1), min(down, wave + 1))
        tiles = board.with_feedback(rows, wave - rows)
        within = board.within[:, wave - rows].flatten(0, 1)
        within_out = board.within_out[:, rows].flatten(0, 1)
        _round_inside(tiles.flatten(1, 2), within, within_out, top)
        board.put(rows, wave - rows, tiles)
    whole = board.tiles.transpose(3, 4).flatten(4, 5).flatten(2, 3)
    entries.copy_(whole[..., :out, :inputs])


@dataclass(frozen=True)
class _Board:
    """A padded weight, cut into tiles, with what the tiles rounded so far have lost.

    Attributes:
        tiles: shape (5, b, down, across, rows, columns).
        lost: E, shape (b, down · rows, across · columns).
        passed: E L_A, of the same shape.
        lower, lower_out: L_A and L_G, padded.
        within, within_out: their strict triangles inside each tile, with the last row first;
            shapes (b, across, columns, columns) and, transposed, (b, down, rows, rows).
    """

    tiles: Float64[Tensor, "5 b down across r c"]
    lost: Float64[Tensor, "b out in"]
    passed: Float64[Tensor, "b out in"]
    lower: Float64[Tensor, "b in in"]
    lower_out: Float64[Tensor, "b out out"]
    within: Float64[Tensor, "b across c c"]
    within_out: Float64[Tensor, "b down r r"]

    def with_feedback(self, rows: Tensor, columns: Tensor) -> Float64[Tensor, "6 b k r c"]:
        """The tiles at some places, with targets, and with E L_A as the sixth part."""
        found = pad(self.tiles[:, :, rows, columns], (*[0] * 9, 1))
        for at, here, across in self._places(rows, columns):
            right, below = slice(across.stop, None), slice(here.stop, None)
            for group in range(len(self.lost)):
                passed, target = found[_PASSED, group, at], found[_TARGET, group, at]
                later = self.lost[group, here, right]
                torch.mm(later, self.lower[group, right, across], out=passed)
                back = self.lower_out[group, below, here].mT
                torch.mm(back, self.passed[group, below, across], out=target)
        found[_TARGET] += found[_LOST] + found[_PASSED]
        return found

    def put(self, rows: Tensor, columns: Tensor, tiles: Float64[Tensor, "6 b k r c"]) -> None:
        """Keep tiles that are rounded."""
        self.tiles[:, :, rows, columns] = tiles[:PARTS]
        for at, here, across in self._places(rows, columns):
            self.lost[:, here, across] = tiles[_LOST, :, at]
            self.passed[:, here, across] = tiles[_PASSED, :, at]

    def _places(self, rows: Tensor, columns: Tensor) -> Iterator[tuple[int, slice, slice]]:
        """Each tile's number, and the rows and columns that it covers."""
        height, width = self.tiles.shape[4:]
        for at, (i, j) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
            yield at, slice(i * height, (i + 1) * height), slice(j * width, (j + 1) * width)


def _board(entries: Tensor, lower: Tensor, lower_out: Tensor) -> _Board:
    """Tiles of equal size, as few as needed; the rows and columns that they add are zero."""
    out, inputs = entries.shape[2:]
    down, across = -(-out // _SIDE), -(-inputs // _SIDE)
    height, width = -(-out // down), -(-inputs // across)
    more, wider = down * height - out, across * width - inputs
    padded = pad(entries, (0, wider, 0, more))
    tiles = padded.unflatten(3, (across, width)).unflatten(2, (down, height)).transpose(3, 4)
    lower, lower_out = pad(lower, (0, wider) * 2), pad(lower_out, (0, more) * 2)
    lost, passed = (torch.zeros_like(padded[0]) for _ in range(2))
    within, within_out = _blocks(lower, width), _blocks(lower_out, height).mT
    return _Board(tiles.contiguous(), lost, passed, lower, lower_out, within, within_out)


def _blocks(lower: Tensor, size: int) -> Float64[Tensor, "b blocks size size"]:
    """The strict triangles of the diagonal blocks, with the last row first."""
    starts = range(0, lower.shape[-1], size)
    blocks = [lower[:, start : start + size, start : start + size] for start in starts]
    return torch.stack(blocks, 1).tril(-1).flip(2)


def _round_inside(
    tiles: Float64[Tensor, "6 k r c"],
    lower: Float64[Tensor, "k c c"],
    lower_out: Float64[Tensor, "k r r"],
    top: int,
) -> None:
    """Round tiles that do not need each other, one anti-diagonal of all of them at a time.

    A loss at (i, j) goes to the earlier entries of its row by row j of L_A. What column j has
    passed on by row i goes to the rows above by row i of L_G.
    """
    parts, count, height, width = tiles.shape
    strides = tiles.stride(0), tiles.stride(1), width - 1
    for diagonal in range(height + width - 2, -1, -1):
        first, last = max(0, diagonal - width + 1), min(height - 1, diagonal)  # rows
        left, right = diagonal - last, diagonal - first  # columns
        size = last - first + 1
        entries = tiles.as_strided((parts, count, size), strides, first * (width - 1) + diagonal)
        lost = settle(entries[:PARTS], top)
        passed = entries[_PASSED].add_(lost)
        start = width - 1 - right
        across = lower[:, start : start + size, :right]
        tiles[::_PASSED, :, first : last + 1, :right].addcmul_(lost[..., None], across)
        start = height - 1 - last
        up = lower_out[:, :last, start : start + size]
        tiles[_TARGET, :, :last, left : right + 1].addcmul_(passed.flip(1)[:, None], up)

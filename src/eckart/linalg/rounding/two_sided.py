"""Rounding with feedback from both sides, along diagonals of tiles.

The target of entry (i, j) is ``W_ij + (L_Gᵀ E L_A)_ij − E_ij``. It needs what has been lost in rows
from i on and columns from j on. With the last row first, entries with equal j − i do not need each
other. So the matrix is cut into tiles, the tiles of one diagonal are rounded together, and inside
them the entries of one diagonal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn.functional import pad

from eckart.linalg.rounding.entries import CODE, LOST, PARTS, TARGET, settle

_SIDE = 64  # of a tile, at most
_PASSED = PARTS


def round_both_ways(
    entries: Float64[Tensor, "4 b out in"],
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
    board = _board(entries.flip(2), lower, lower_out.mT.flip(1, 2))
    down, across = board.tiles.shape[2:4]
    for offset in range(across - 1, -down, -1):
        rows = torch.arange(max(0, -offset), min(down, across - offset))
        tiles = board.with_feedback(rows, rows + offset)
        right = board.right[:, rows + offset].flatten(0, 1)
        _round_inside(tiles.flatten(1, 2), right, board.above[:, rows].flatten(0, 1), top)
        board.put(rows, rows + offset, tiles)
    for part in (TARGET, LOST, CODE):
        whole = board.tiles[part].transpose(2, 3).flatten(3, 4).flatten(1, 2)
        entries[part] = whole[:, :out, :inputs].flip(1)


@dataclass(frozen=True)
class _Board:
    """A padded weight, cut into tiles, with what the tiles rounded so far have lost.

    Attributes:
        tiles: shape (4, b, down, across, rows, columns); the last row of the weight comes first.
        lost: E, shape (b, down · rows, across · columns).
        passed: E L_A, of the same shape.
        lower: L_A, padded.
        lower_out: L_Gᵀ, padded, with the last row and column first; lower triangular again.
        right: the triangle of L_A inside each tile, (b, across, columns, columns).
        above: the strict triangle of L_Gᵀ inside each tile, (b, down, rows, rows).
    """

    tiles: Float64[Tensor, "4 b down across r c"]
    lost: Float64[Tensor, "b out in"]
    passed: Float64[Tensor, "b out in"]
    lower: Float64[Tensor, "b in in"]
    lower_out: Float64[Tensor, "b out out"]
    right: Float64[Tensor, "b across c c"]
    above: Float64[Tensor, "b down r r"]

    def with_feedback(self, rows: Tensor, columns: Tensor) -> Float64[Tensor, "5 b k r c"]:
        """The tiles at some places, with their targets, and E L_A so far as the last part."""
        found = pad(self.tiles[:, :, rows, columns], (*[0] * 9, 1))
        for at, here, across in self._places(rows, columns):
            above, right = slice(here.start), slice(across.stop, None)
            for group in range(len(self.lost)):
                passed, target = found[_PASSED, group, at], found[TARGET, group, at]
                later = self.lost[group, here, right]
                torch.mm(later, self.lower[group, right, across], out=passed)
                down = self.lower_out[group, here, above]
                torch.mm(down, self.passed[group, above, across], out=target)
        found[TARGET] += found[LOST] + found[_PASSED]
        return found

    def put(self, rows: Tensor, columns: Tensor, tiles: Float64[Tensor, "5 b k r c"]) -> None:
        """Keep tiles that are rounded."""
        self.tiles[:, :, rows, columns] = tiles[:PARTS]
        for at, here, across in self._places(rows, columns):
            self.lost[:, here, across] = tiles[LOST, :, at]
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
    right, above = _blocks(lower, width), _blocks(lower_out, height).tril(-1)
    return _Board(tiles.contiguous(), lost, passed, lower, lower_out, right, above)


def _blocks(lower: Tensor, size: int) -> Float64[Tensor, "b blocks size size"]:
    """The diagonal blocks."""
    starts = range(0, lower.shape[-1], size)
    return torch.stack([lower[:, at : at + size, at : at + size] for at in starts], 1)


def _round_inside(
    tiles: Float64[Tensor, "5 k r c"],
    right: Float64[Tensor, "k c c"],
    above: Float64[Tensor, "k r r"],
    top: int,
) -> None:
    """Round tiles that do not need each other, one diagonal of all of them at a time.

    A loss at (i, j) goes to the entries left of it and to E L_A by row j of L_A. What column j has
    then passed on by row i goes to the rows below by column i of L_Gᵀ.
    """
    parts, count, height, width = tiles.shape
    strides = tiles.stride(0), tiles.stride(1), width + 1
    shared = tiles[::_PASSED]  # targets and E L_A
    for offset in range(width - 1, -height, -1):
        first, stop = max(0, -offset), min(height, width - offset)  # rows
        start, end = first + offset, stop + offset  # columns
        shape = (parts, count, stop - first)
        entries = tiles.as_strided(shape, strides, first * width + start)
        lost = settle(entries[:PARTS], top)
        by_row = right[:, start:end, :end]
        shared[:, :, first:stop, :end].addcmul_(lost[..., None], by_row)
        if first + 1 < height:
            below = tiles[TARGET, :, first + 1 :, start:end]
            below.addcmul_(entries[_PASSED, :, None], above[:, first + 1 :, first:stop])
    tiles[TARGET] -= tiles[LOST]  # which L_A's diagonal added to the rounding errors

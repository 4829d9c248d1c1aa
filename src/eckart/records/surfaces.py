"""The time of one kind of layer, by its widths."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from math import inf, isfinite
from typing import Any

from eckart.records.pieces import Piece
from eckart.records.reading import Width


@dataclass(frozen=True)
class Surface:
    """Milliseconds of one kind of layer at one size of its input, on a grid of widths.

    Attributes:
        kind: the layer without its widths, see ``kind_of``.
        size: positions of one example in its input.
        inputs, outputs: the widths that were timed, ascending, per group where there are groups.
            A depthwise layer has as many inputs as outputs, and one entry in ``outputs``.
        ms: one row for each width of ``inputs``, one entry for each of ``outputs``.
    """

    kind: Piece
    size: tuple[Width, ...]
    inputs: tuple[Width, ...]
    outputs: tuple[Width, ...]
    ms: tuple[tuple[float, ...], ...]

    def at(self, piece: Piece) -> float:
        """The time of a layer of this kind; infinite if it is wider than all that were timed.

        Kernels work on blocks of channels, so the time is a staircase with a period that depends
        on the machine. A width that was not timed is taken to cost as much as the dearer one of the
        two timed widths around it. A plan then prefers the timed widths, or errs on the safe side.
        """
        rows = _around(self.inputs, piece.inputs // self.kind.inputs)
        columns = [0]
        if not self.kind.is_depthwise:
            columns = _around(self.outputs, piece.outputs // self.kind.outputs)
        if not rows or not columns:
            return inf
        return max(self.ms[row][column] for row in rows for column in columns)

    def as_json(self) -> dict[str, Any]:
        """Plain dictionary."""
        return {**asdict(self), "kind": self.kind.as_json()}

    def contradiction(self) -> str | None:
        """The table must have the shape of its grid, of ascending widths and positive times."""
        for widths in (self.inputs, self.outputs):
            if not widths or list(widths) != sorted(set(widths)):
                return "its widths do not ascend"
        if [len(row) for row in self.ms] != [len(self.outputs)] * len(self.inputs):
            return "its times do not have the shape of its widths"
        if not all(isfinite(ms) and ms >= 0 for row in self.ms for ms in row):
            return "its times are not numbers of milliseconds"
        return None


@lru_cache
def kind_of(piece: Piece) -> Piece:
    """The layer without widths and bias: one channel per group, two channels if it is depthwise.

    Codes belong to the kind where activations are rounded, because other kernels run then.
    """
    groups = 2 if piece.is_depthwise else piece.groups
    return replace(
        piece,
        inputs=groups,
        outputs=groups,
        groups=groups,
        bias=False,
        carries=0,
        bits=piece.bits if piece.activations else 0,
        span=0,
    )


def widened(kind: Piece, inputs: int, outputs: int) -> Piece:
    """A layer of this kind with widths, per group, and a bias."""
    if kind.is_depthwise:
        return replace(kind, inputs=inputs * 2, outputs=inputs * 2, groups=inputs * 2, bias=True)
    return replace(kind, inputs=inputs * kind.inputs, outputs=outputs * kind.outputs, bias=True)


def _around(widths: tuple[int, ...], width: int) -> list[int]:
    """Places of the timed widths around a width: one if it was timed, none beyond the last."""
    place = bisect_left(widths, width)
    if place == len(widths):
        return []
    return [place] if widths[place] == width or place == 0 else [place - 1, place]

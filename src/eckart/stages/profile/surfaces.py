"""Time one kind of layer on a grid of widths."""

from __future__ import annotations

from itertools import product

import torch

from eckart.records import Piece
from eckart.records.pieces import Size
from eckart.records.surfaces import Surface, widened
from eckart.runtimes import Ladder, Runtime, Times, clock_of, interleaved
from eckart.stages.profile.kinds import Grid

_FEW, _MANY = 1, 3  # copies in the two ladders whose difference is the time
_ROUNDS = 7


def surface(
    runtime: Runtime,
    kind: Piece,
    size: Size,
    grid: Grid,
    batch: int,
    threads: int,
    like: torch.Tensor,
) -> tuple[Surface, list[Times]]:
    """The times of a kind of layer at all pairs of widths, and the samples behind them.

    All calls take turns, so that a disturbance does not fall on one width alone.
    """
    inputs, outputs = sorted(grid.inputs), sorted(grid.outputs)
    ladders = [
        Ladder(widened(kind, *widths), size, batch, copies, like.dtype, like.device)
        for widths in product(inputs, outputs)
        for copies in (_FEW, _MANY)
    ]
    runs = [runtime.ladder(ladder, threads) for ladder in ladders]
    clock = runtime.clock or clock_of(threads, like.device)
    times = interleaved(runs, _ROUNDS, clock)
    pairs = zip(times[::2], times[1::2], strict=True)
    each = [max(many.least - few.least, 0.0) / (_MANY - _FEW) for few, many in pairs]
    rows = [tuple(each[i : i + len(outputs)]) for i in range(0, len(each), len(outputs))]
    return Surface(kind, size, tuple(inputs), tuple(outputs), tuple(rows)), times

"""The width of an MLP: one or two layers write it, or one writes both halves, and one reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile

from eckart.network.units.order import Matrix, Stretch
from eckart.records import ChannelGroup
from eckart.records.channels import Units

_MOST = 2  # layers that write one width: the gate, and what it multiplies


def widths(stretch: Stretch) -> Iterator[ChannelGroup]:
    """What the width may be, the likeliest first; nothing where no layer before fits."""
    last, near = stretch.last, stretch.before[::-1]
    writers = list(takewhile(lambda m: _fits(m, last), near))[:_MOST]
    for some in dict.fromkeys((tuple(writers), tuple(writers[:1]))):
        if some:
            yield _group(some[::-1], last, tuple((row,) for row in range(last.inputs)))
    if not writers and _fits(near[0], last, 2):
        yield _group(near[:1], last, _halves(last.inputs))
        yield _group(near[:1], last, _neighbours(last.inputs))


def _fits(matrix: Matrix, last: Matrix, times: int = 1) -> bool:
    """Whether the last layer goes back to the width that this one comes from."""
    return matrix.outputs == times * last.inputs and matrix.inputs == last.outputs


def _group(writers: Sequence[Matrix], reader: Matrix, rows: Units) -> ChannelGroup:
    """Unit j is column j of the reader, and these rows of each writer."""
    return ChannelGroup(
        name=writers[0].name,
        size=reader.inputs,
        writers={writer.name: rows for writer in writers},
        readers={reader.name: tuple((column,) for column in range(reader.inputs))},
        followers={},
    )


def _halves(size: int) -> Units:
    return tuple((unit, unit + size) for unit in range(size))


def _neighbours(size: int) -> Units:
    return tuple((2 * unit, 2 * unit + 1) for unit in range(size))

"""Which layers may come up in a smaller network, and at which widths they are timed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import ceil, prod

from eckart.records import LayerSpec, Piece
from eckart.records.pieces import IDLE, Size
from eckart.records.surfaces import kind_of

_EIGHTHS, _FEWER = (1, 2, 3, 4, 6, 8), (1, 2, 4, 6, 8)
_NARROW, _WIDE = 16, 64  # up to these widths the grid has multiples of 4 and of 8, then of 16


@dataclass
class Grid:
    """The widths, per group, at which one kind of layer is timed."""

    inputs: set[int] = field(default_factory=set)
    outputs: set[int] = field(default_factory=set)


Chain = list[tuple[Piece, Size]]
"""Pieces that follow one another, each with the size of its input; their widths do not matter."""


Kinds = dict[tuple[Piece, Size], Grid]
"""Kinds of layers at sizes of their inputs, with the widths at which they are timed."""


def grids(specs: Iterable[LayerSpec], activations: int = 0) -> Kinds:
    """Every kind of layer at every size of its input that a form may have, and its widths.

    Forms are the layer itself, narrower; and chains in which a pointwise piece comes before, after
    or on both sides of it, or one piece per axis in any order. With ``activations``, also the layer
    itself with these bits per weight and activation.
    """
    found: Kinds = {}
    for spec in specs:
        for size in set(spec.sizes):
            for chain in _chains(spec.piece, size):
                _widen(found, chain, spec.piece)
            if activations and spec.can_round:
                rounded = replace(spec.piece, bits=activations, activations=activations)
                _widen(found, [(rounded, size)], spec.piece)
    return found


def coarse(width: int) -> set[int]:
    """Widths up to this one: multiples of 4, 8 or 16, which kernels like, and itself."""
    step = 4 if width <= _NARROW else 8 if width <= _WIDE else 16
    eighths = _EIGHTHS if width <= _WIDE else _FEWER
    parts = {_NARROW, *(ceil(width * part / 8 / step) * step for part in eighths)}
    return {part for part in parts if part < width} | {width}


def _chains(piece: Piece, size: Size) -> Iterator[Chain]:
    """The layer alone, and the chains that may stand for it."""
    yield [(piece, size)]
    if piece.is_depthwise:
        return
    if not piece.kernel or piece.is_pointwise:
        yield [(piece, size), (piece, piece.output_size(size))]
        return
    thin = piece.pointwise(piece.groups, piece.groups)
    after = piece.output_size(size)
    yield [(piece, size), (thin, after)]
    yield [(thin, size), (piece, size)]
    yield [(thin, size), (piece, size), (thin, after)]
    working = [axis for axis, does in enumerate(piece.axes) if does != IDLE]
    if len(working) == 2:
        for first, second in (working, working[::-1]):
            one, two = piece.on([first]), piece.on([second])
            yield [(one, size), (two, one.output_size(size))]


def _widen(found: Kinds, chain: Chain, dense: Piece) -> None:
    """Add the widths that the pieces of a chain may have."""
    inputs, outputs = dense.inputs // dense.groups, dense.outputs // dense.groups
    if dense.is_depthwise:
        inputs = max(dense.inputs // 2, 1)
    inner = _inner(chain, inputs, outputs)
    last = len(chain) - 1
    for place, (piece, size) in enumerate(chain):
        grid = found.setdefault((kind_of(piece), size), Grid())
        grid.inputs |= coarse(inputs) if place == 0 else inner
        grid.outputs |= {1} if dense.is_depthwise else coarse(outputs) if place == last else inner


def _inner(chain: Chain, inputs: int, outputs: int) -> set[int]:
    """Widths between the pieces, up to where the chain has as many weights as the layer."""
    if len(chain) == 1:
        return set()
    if len(chain) > 2:
        return coarse(max(inputs, outputs))
    first, second = (prod(piece.kernel) for piece, _ in chain)
    most = first * second * inputs * outputs // (first * inputs + second * outputs)
    step = 4 if most <= _NARROW else 8
    widest = ceil(max(most, 1) / step) * step
    return coarse(min(widest, max(inputs, outputs))) | {widest}

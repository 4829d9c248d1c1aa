"""Heads of attention: one of keys and values, with all heads of queries that attend to it.

Heads that go together leave the number of queries per key as it is, and the width of a head too,
which positions are rotated in. So the module computes the same with fewer of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from eckart.network.units.counts import HEADS
from eckart.network.units.order import Matrix, Stretch
from eckart.records import ChannelGroup
from eckart.records.channels import Units

_WIDTHS = ("head_dim", "attention_head_size", "head_size", "key_value_proj_dim", "dim_head")
_PARTS = 3  # queries, keys and values


def attention_heads(model: nn.Module, stretch: Stretch) -> Iterator[ChannelGroup]:
    """What the heads may be, the likeliest first; nothing where this is not attention."""
    module, last = model.get_submodule(stretch.module), stretch.last
    head = _width_of_head(module, last.inputs)
    if head is None or last.inputs % head:
        return
    if len(stretch.before) == _PARTS:
        yield from _apart(stretch.before, last, head)
    elif len(stretch.before) == 1:
        yield from _packed(stretch.before[0], last, head)


def _apart(parts: tuple[Matrix, ...], last: Matrix, head: int) -> Iterator[ChannelGroup]:
    """Each of the three has a layer of its own; of queries there may be more."""
    keys = min(part.outputs for part in parts)
    wide = [part for part in parts if part.outputs == last.inputs]
    narrow = [part for part in parts if part.outputs == keys]
    if keys % head or last.inputs % keys or len({*wide, *narrow}) < _PARTS:
        return
    if keys < last.inputs and len(narrow) < _PARTS - 1:
        return
    count = keys // head
    rows = {part.name: _spans(count, part.outputs // count) for part in parts}
    yield _group(rows, last, count)


def _packed(layer: Matrix, last: Matrix, head: int) -> Iterator[ChannelGroup]:
    """One layer writes all three: first all queries, then all keys, or head after head."""
    keys, odd = divmod(layer.outputs - last.inputs, 2)
    if odd or keys <= 0 or keys % head or last.inputs % keys:
        return
    count, queries = keys // head, last.inputs // (keys // head)
    one_by_one = _spans(count, queries + 2 * head)
    sections = ((0, queries), (last.inputs, head), (last.inputs + keys, head))
    blocks = tuple(
        tuple(start + unit * width + i for start, width in sections for i in range(width))
        for unit in range(count)
    )
    for rows in (blocks, one_by_one):
        yield _group({layer.name: rows}, last, count)


def _group(rows: dict[str, Units], last: Matrix, count: int) -> ChannelGroup:
    return ChannelGroup(
        name=next(iter(rows)),
        size=count,
        writers=rows,
        readers={last.name: _spans(count, last.inputs // count)},
        followers={},
    )


def _spans(count: int, width: int) -> Units:
    return tuple(tuple(range(unit * width, (unit + 1) * width)) for unit in range(count))


def _width_of_head(module: nn.Module, width: int) -> int | None:
    """What the module, or one inside it, says that the width of a head is."""
    for inner in module.modules():
        if found := _number(inner, _WIDTHS):
            return found
        if found := _number(inner, HEADS):
            return None if width % found else width // found
    return None


def _number(module: nn.Module, names: tuple[str, ...]) -> int | None:
    values: Iterator[Any] = (vars(module).get(name) for name in names)
    return next((v for v in values if isinstance(v, int) and v > 0), None)

"""The least sum of tables that share variables, by eliminating one variable at a time.

Source: Dechter 1999 (bucket elimination).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

States = tuple[int, ...]
Table = tuple[States, NDArray[np.float64]]
"""Variables, and the value for each of their joint states."""
_MAX_TABLE = 2_000_000  # entries; larger tables are minimised in parts, which gives only a bound


def least_sum(tables: list[Table], states: States) -> tuple[States, float]:
    """The states with the least total over all tables, and this total.

    If a joint table would be too large, it is minimised in parts. The states are then not always
    the best, and the value is only a lower bound.
    """
    constant, pending = 0.0, list[Table]()
    for scope, table in tables:
        if scope:
            pending.append((scope, table))
        else:
            constant += float(table)
    buckets: list[tuple[int, list[Table]]] = []
    left = set(range(len(states)))
    while left:
        variable = min(left, key=lambda v: _width(pending, v, states))
        bucket = [t for t in pending if variable in t[0]]
        pending = [t for t in pending if variable not in t[0]]
        buckets.append((variable, bucket))
        for part in _parts(bucket, states):
            scope, joint = _joint(part, states)
            reduced = joint.min(scope.index(variable))
            rest = tuple(v for v in scope if v != variable)
            if rest:
                pending.append((rest, reduced))
            else:
                constant += float(reduced)
        left.discard(variable)
    chosen = dict[int, int]()
    for variable, bucket in reversed(buckets):
        total = np.zeros(states[variable])
        for scope, table in bucket:
            total = total + table[tuple(chosen.get(v, slice(None)) for v in scope)]
        chosen[variable] = int(total.argmin())
    return tuple(chosen[v] for v in range(len(states))), constant


def _width(tables: Sequence[Table], variable: int, states: States) -> int:
    scopes = {v for scope, _ in tables if variable in scope for v in scope}
    return prod(states[v] for v in scopes)


def _parts(bucket: Sequence[Table], states: States) -> Iterator[list[Table]]:
    """The tables of one variable, in parts whose joint tables are not too large."""
    part: list[Table] = []
    for table in bucket:
        scope = {v for scope, _ in [*part, table] for v in scope}
        if part and prod(states[v] for v in scope) > _MAX_TABLE:
            yield part
            part = []
        part.append(table)
    if part:
        yield part


def _joint(tables: Sequence[Table], states: States) -> Table:
    """The sum of some tables over all their variables."""
    scope = tuple(sorted({v for each, _ in tables for v in each}))
    total = np.zeros(tuple(states[v] for v in scope))
    for each, table in tables:
        order = np.argsort(each)
        shape = [states[v] if v in each else 1 for v in scope]
        total = total + np.transpose(table, order).reshape(shape)
    return scope, total

"""Remove channels from a network: only the kept units of each group stay."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from eckart.layers import (
    narrowed,
    norm_width,
    piece_of,
)
from eckart.network.units import counts_after
from eckart.records import ChannelGroup


def without_units(model: nn.Module, kept: Sequence[tuple[ChannelGroup, Sequence[int]]]) -> None:
    """Keep only these units of each group, in place; the remaining weights are unchanged.

    Modules of attention that lose heads count those that are left.
    """
    rows: dict[str, list[int]] = {}
    columns: dict[str, list[int]] = {}
    for group, units in kept:
        for name in {**group.writers, **group.followers}:
            rows[name] = group.rows_left(name, units, _outputs_of(model.get_submodule(name)))
        for name in group.readers:
            width = piece_of(model.get_submodule(name)).inputs
            columns[name] = group.columns_left(name, units, width)
    for name, left in columns.items():
        holder = model.get_submodule(name.rpartition(".")[0])
        vars(holder).update(counts_after(model, name, len(left)))
    for name in {**rows, **columns}:
        module = narrowed(model.get_submodule(name), rows.get(name), columns.get(name))
        model.set_submodule(name, module)


def _outputs_of(module: nn.Module) -> int:
    width = norm_width(module)
    return piece_of(module).outputs if width is None else width

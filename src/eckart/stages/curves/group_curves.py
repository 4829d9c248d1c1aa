"""The curve of a channel group: which units to keep, and the loss of keeping only these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eckart.layers import norm_width
from eckart.network.costs import saved_buffers
from eckart.records import ChannelGroup, GroupCurve
from eckart.stages.curves.problems import Bench


def group_curve(
    bench: Bench,
    group: ChannelGroup,
    method: str,
    order: Sequence[int],
    losses: Sequence[float],
    sizes: Steps,
) -> GroupCurve:
    """The units ranked by how long to keep them, and the loss for several numbers of units kept.

    Args:
        bench: has the norms that follow.
        group: the channels.
        method: how units were ranked.
        order: all units, the one to keep longest first.
        losses: of keeping no unit, one, and so on.
        sizes: which numbers of units are offered.
    """
    kept = [k for k in sizes.of(group.size) if _all_stay(group, order[:k])]
    return GroupCurve(
        group=group,
        method=method,
        order=tuple(order),
        losses={k: losses[k] for k in kept},
        costs=_unit_costs(bench, group),
    )


@dataclass(frozen=True)
class Steps:
    """Which numbers of units are offered.

    Attributes:
        multiple: only multiples of this number of units, and all units.
        fine: sixteenths of the units instead of eighths.
    """

    multiple: int
    fine: bool

    def of(self, size: int) -> list[int]:
        """Equal steps, finer ones at small sizes; multiples if asked."""
        parts = {*range(1, 17)} if self.fine else {1, 2, 3, 4, 5, 6, 8, 10, 12, 14}
        wanted = {round(size * part / 16) for part in parts} | {1, size // 64, size // 32}
        if self.multiple > 1:
            wanted = {max(self.multiple, round(k / self.multiple) * self.multiple) for k in wanted}
        return sorted({*(k for k in wanted if 1 <= k < size), size})


def _all_stay(group: ChannelGroup, kept: Sequence[int]) -> bool:
    """Whether every layer of the group keeps a channel to write and to read."""
    writers, readers = {**group.writers, **group.followers}, group.readers
    return all(group.rows(name, kept) for name in writers) and all(
        group.columns(name, kept) for name in readers
    )


def _unit_costs(bench: Bench, group: ChannelGroup) -> dict[str, tuple[int, ...]]:
    """Parameters and bytes of each unit in the norms that follow, their statistics included.

    Where maps are concatenated, a unit is in the norm of one of them.
    """
    params, size = [0] * group.size, [0] * group.size
    for name, units in group.followers.items():
        norm = bench.layers[name]
        if norm_width(norm) is None:
            continue
        weights = [p for p in norm.parameters() if p.dim() == 1 and len(p) > 1]
        statistics = [b for b in saved_buffers(norm).values() if b.dim() == 1]
        for unit, channels in enumerate(units):
            params[unit] += len(channels) * len(weights)
            size[unit] += len(channels) * sum(t.element_size() for t in (*weights, *statistics))
    return {"params": tuple(params), "bytes": tuple(size)}

"""What the page shows about channel groups: their curves, and which units each point keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from eckart.records import ChannelGroup, Curves, Frontier, GroupCurve, Removal
from eckart.records.channels import Units
from eckart.report.formats import known
from eckart.report.widths import in_order


class Supports:
    """The groups in the network's order, each with the sets of units that points keep.

    Args:
        frontier: its plans may remove channels of groups that the curves lack.
        curves: curves of the same network.
        layers: names of the layers in the network's order.
    """

    def __init__(self, frontier: Frontier, curves: Curves, layers: Iterable[str]) -> None:
        ranked = {curve.group.name: curve for curve in curves.groups}
        plans = [point.plan for point in frontier.points]
        groups = {name: removal.group for plan in plans for name, removal in plan.removals.items()}
        groups |= {name: curve.group for name, curve in ranked.items()}
        self.groups = in_order(groups.values(), layers)
        self.rows = [_row(group, ranked.get(group.name)) for group in self.groups]
        self._known: list[dict[tuple[int, ...], int]] = [{} for _ in self.groups]

    def kept_by(self, removals: Mapping[str, Removal]) -> list[int | None]:
        """For every group the index of the set that a plan keeps; None where it keeps all units."""
        return [self._index(at, removals.get(g.name)) for at, g in enumerate(self.groups)]

    def read_by(self, layer: str) -> list[Any] | None:
        """The group whose channels a layer reads, and which of its units; None without a group."""
        return self._side([group.readers for group in self.groups], layer)

    def written_by(self, layer: str) -> list[Any] | None:
        """The group whose channels a layer writes, and which of its units; None without a group."""
        return self._side([{**g.followers, **g.writers} for g in self.groups], layer)

    def _index(self, at: int, removal: Removal | None) -> int | None:
        if removal is None:
            return None
        known_ones, supports = self._known[at], self.rows[at]["supports"]
        if removal.kept not in known_ones:
            known_ones[removal.kept] = len(supports)
            supports.append(_support(removal))
        return known_ones[removal.kept]

    def _side(self, sides: Iterable[Mapping[str, Units]], layer: str) -> list[Any] | None:
        """The index of the group and the units that the layer has; None in place of all units."""
        for at, side in enumerate(sides):
            if layer in side:
                units = [unit for unit, channels in enumerate(side[layer]) if channels]
                return [at, None if len(units) == len(side[layer]) else units]
        return None


def mask(kept: Iterable[int], size: int) -> str:
    """Which units are kept, in hexadecimal: one bit per unit, the highest bit for the first.

    Example:
        >>> mask([0, 1, 5], 6)
        'c4'
    """
    digits = -(-size // 4)
    return f"{sum(1 << (4 * digits - 1 - unit) for unit in kept):0{digits}x}"


def by_reason(whole: Mapping[str, str]) -> dict[str, list[str]]:
    """Names of groups by their reason.

    Example:
        >>> by_reason({"a": "split", "b": "one reader", "c": "split"})
        {'split': ['a', 'c'], 'one reader': ['b']}
    """
    found: dict[str, list[str]] = {}
    for name, reason in whole.items():
        found.setdefault(reason, []).append(name)
    return found


def _row(group: ChannelGroup, curve: GroupCurve | None) -> dict[str, Any]:
    losses = {} if curve is None else curve.losses
    return {
        "name": group.name,
        "size": group.size,
        "method": None if curve is None else curve.method,
        "writers": list(group.writers),
        "followers": list(group.followers),
        "readers": list(group.readers),
        "line": [
            [size, _rounded(loss)] for size, loss in losses.items() if known(loss) is not None
        ],
        "supports": [],
    }


def _support(removal: Removal) -> list[Any]:
    """Method, the units as a mask, the number of units, and the loss."""
    units = mask(removal.kept, removal.group.size)
    return [removal.method, units, len(removal.kept), _rounded(removal.loss)]


def _rounded(loss: float) -> float | None:
    return None if known(loss) is None else float(f"{loss:.4g}")

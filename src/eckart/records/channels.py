"""Channels that can only be removed together, and which of them are removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain, pairwise
from typing import Any

from eckart.records.excerpts import excerpt
from eckart.records.reading import Count, Width, read

Units = tuple[tuple[Count, ...], ...]
"""The channels (or features) of one layer that belong to each unit of a group."""


@dataclass(frozen=True, kw_only=True)
class ChannelGroup:
    """Channels that are removed together: a unit is rows of some layers and columns of others.

    Attributes:
        name: the first layer that writes them.
        size: number of units.
        writers: output channels of each unit, by layer.
        readers: input channels (features, for a linear layer) of each unit, by layer.
        followers: channels of each unit, by module that treats every channel separately: norms and
            depthwise convolutions.
    """

    name: str
    size: Width
    writers: Mapping[str, Units]
    readers: Mapping[str, Units]
    followers: Mapping[str, Units]

    @property
    def members(self) -> set[str]:
        """Every module that changes when a unit is removed."""
        return {*self.writers, *self.readers, *self.followers}

    def rows(self, layer: str, units: Iterable[int]) -> list[int]:
        """Output channels of a writer or follower that belong to these units, ascending."""
        return _flat({**self.followers, **self.writers}[layer], units)

    def columns(self, layer: str, units: Iterable[int]) -> list[int]:
        """Input channels of a reader that belong to these units, ascending."""
        return _flat(self.readers[layer], units)

    def rows_left(self, layer: str, kept: Iterable[int], width: int) -> list[int]:
        """The output channels, out of ``width``, that stay if only these units are kept."""
        return _without(width, self.rows(layer, self._gone(kept)))

    def columns_left(self, layer: str, kept: Iterable[int], width: int) -> list[int]:
        """The input channels, out of ``width``, that stay if only these units are kept."""
        return _without(width, self.columns(layer, self._gone(kept)))

    def _gone(self, kept: Iterable[int]) -> set[int]:
        return set(range(self.size)) - set(kept)

    def as_json(self) -> dict[str, Any]:
        """Plain lists and dictionaries."""
        sides = {"writers": self.writers, "readers": self.readers, "followers": self.followers}
        units = {
            side: {layer: [list(unit) for unit in of] for layer, of in layers.items()}
            for side, layers in sides.items()
        }
        return {"name": self.name, "size": self.size, **units}

    @classmethod
    def from_json(cls, data: Any) -> ChannelGroup:
        """The inverse of ``as_json``."""
        return read(cls, data)

    def contradiction(self) -> str | None:
        """Every member must list the channels of each unit; no channel may be in two units."""
        for layer, units in chain(
            *(s.items() for s in (self.writers, self.readers, self.followers))
        ):
            if len(units) != self.size:
                return f"it has {self.size} units, but {excerpt(layer)} channels for {len(units)}"
            channels = list(chain.from_iterable(units))
            if len(set(channels)) != len(channels):
                return f"{excerpt(layer)} has a channel that is in two units"
        return None


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What a plan does to one group.

    Attributes:
        group: the channels.
        method: how the units to keep were chosen.
        kept: units that stay, ascending.
        loss: predicted loss of the layers that read the removed units.
    """

    group: ChannelGroup
    method: str
    kept: tuple[Count, ...]
    loss: float

    @property
    def removed(self) -> list[int]:
        """Units that are removed."""
        return _without(self.group.size, self.kept)

    def as_json(self) -> dict[str, Any]:
        """Plain lists and dictionaries."""
        return {**asdict(self), "group": self.group.as_json()}

    @classmethod
    def from_json(cls, data: Any) -> Removal:
        """The inverse of ``as_json``."""
        return read(cls, data)

    def contradiction(self) -> str | None:
        """At least one unit of the group is kept; each is listed once, in order."""
        if not self.kept or self.kept[-1] >= self.group.size:
            return f"of {self.group.size} units it keeps {excerpt(self.kept)}"
        ordered = all(one < other for one, other in pairwise(self.kept))
        return None if ordered else f"the units it keeps are not in order: {excerpt(self.kept)}"


@dataclass(frozen=True, kw_only=True)
class GroupCurve:
    """The numbers of units of a group that may stay, which units these are, and the losses.

    Attributes:
        group: the channels.
        method: how they were ranked.
        order: all units, the one to keep longest first.
        losses: predicted loss by number of units kept, ascending; the last keeps all, at no loss.
        costs: what each unit costs in the followers, by name of the cost.
    """

    group: ChannelGroup
    method: str
    order: tuple[int, ...]
    losses: Mapping[int, float]
    costs: Mapping[str, tuple[float, ...]]

    @property
    def sizes(self) -> list[int]:
        """Numbers of units that may stay, ascending."""
        return list(self.losses)

    def kept(self, size: int) -> tuple[int, ...]:
        """The units that stay if ``size`` units are kept, ascending."""
        return tuple(sorted(self.order[:size]))

    def cost(self, name: str, size: int) -> float:
        """What the units cost in the followers if ``size`` units are kept."""
        units = self.costs.get(name)
        return 0 if units is None else sum(units[unit] for unit in self.order[:size])

    def times(self, scale: float) -> GroupCurve:
        """The same units, with all losses multiplied by ``scale``."""
        return replace(self, losses={k: loss * scale for k, loss in self.losses.items()})


def _flat(channels: Units, units: Iterable[int]) -> list[int]:
    return sorted(chain.from_iterable(channels[unit] for unit in units))


def _without(width: int, gone: Iterable[int]) -> list[int]:
    return sorted(set(range(width)) - set(gone))

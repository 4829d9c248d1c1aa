"""Groups of channels that meet in one layer are one group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eckart.records import ChannelGroup
from eckart.records.channels import Units


def pooled(groups: Sequence[ChannelGroup]) -> list[ChannelGroup]:
    """Join groups that meet in one reader (a concatenation) or one writer (a split)."""
    pools: list[ChannelGroup] = []
    for group in groups:
        touching = [p for p in pools if _meet(p, group)]
        pools = [p for p in pools if p not in touching]
        for other in touching:
            group = _joined(other, group)
        pools.append(group)
    return pools


def _meet(a: ChannelGroup, b: ChannelGroup) -> bool:
    return any(
        getattr(a, side).keys() & getattr(b, side).keys()
        for side in ("writers", "readers", "followers")
    )


def _joined(a: ChannelGroup, b: ChannelGroup) -> ChannelGroup:
    def side(left: Mapping[str, Units], right: Mapping[str, Units]) -> dict[str, Units]:
        none, nothing = ((),) * a.size, ((),) * b.size
        return {n: left.get(n, none) + right.get(n, nothing) for n in {**left, **right}}

    return ChannelGroup(
        name=a.name,
        size=a.size + b.size,
        writers=side(a.writers, b.writers),
        readers=side(a.readers, b.readers),
        followers=side(a.followers, b.followers),
    )

"""Group norms: channels that are normalised together can only be removed together."""

from __future__ import annotations

from torch import nn

from eckart.layers import channels_normalised_together
from eckart.records import ChannelGroup
from eckart.records.channels import Units


def in_norm_groups(model: nn.Module, group: ChannelGroup) -> ChannelGroup:
    """The group with larger units: one for all channels that some group norm treats together.

    Removing a part of them would change the mean and variance of the others.
    """
    owners = list(range(group.size))
    for name, units in group.followers.items():
        together = channels_normalised_together(model.get_submodule(name))
        if 1 < together < sum(map(len, units)):  # else no channel can go at all, which is said
            _join(owners, units, together)
    parts = list(dict.fromkeys(owners))
    if len(parts) == group.size:
        return group
    members = [[unit for unit, owner in enumerate(owners) if owner == part] for part in parts]

    def joined(units: Units) -> Units:
        return tuple(tuple(sorted(c for unit in part for c in units[unit])) for part in members)

    return ChannelGroup(
        name=group.name,
        size=len(parts),
        writers={name: joined(units) for name, units in group.writers.items()},
        readers={name: joined(units) for name, units in group.readers.items()},
        followers={name: joined(units) for name, units in group.followers.items()},
    )


def _join(owners: list[int], units: Units, together: int) -> None:
    """Give one owner to all units that have channels in one group of a norm, in place."""
    first: dict[int, int] = {}
    for unit, channels in enumerate(units):
        for part in {channel // together for channel in channels}:
            one, other = owners[first.setdefault(part, unit)], owners[unit]
            owners[:] = [one if owner == other else owner for owner in owners]

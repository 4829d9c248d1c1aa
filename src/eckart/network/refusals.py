"""Why a group of channels must stay whole, as far as this is known before any trial."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from torch import nn

from eckart.layers import no_narrowing
from eckart.records import ChannelGroup
from eckart.records.channels import Units

Range = tuple[int, int]
_ONE, _WHOLE = "a single channel stays", "all of it is one unit, which stays"


def refusal(
    model: nn.Module, group: ChannelGroup, dense: Collection[str], calls: Mapping[str, Range]
) -> str | None:
    """The reason, or None.

    Args:
        model: the network.
        group: the channels.
        dense: modules that must stay as they are.
        calls: by layer, the least and the largest number of calls in a batch, if they are known.
    """
    if not group.readers:
        return "only the network's output reads it"
    if group.size < 2:
        return _ONE if _is_narrow(group) else _WHOLE
    asked = sorted(group.members & set(dense))
    if asked:
        return f"{asked[0]} stays dense"
    return _unfit(model, group) or _varying(group, calls)


def _is_narrow(group: ChannelGroup) -> bool:
    return all(len(unit) == 1 for units in group.writers.values() for unit in units)


def _unfit(model: nn.Module, group: ChannelGroup) -> str | None:
    """Which of its modules cannot lose channels, or not these."""
    for side, members in _sides(group):
        for name, units in members.items():
            reason = no_narrowing(model.get_submodule(name), side)
            if reason is not None:
                return f"{name}: {reason}"
            flat = [index for unit in units for index in unit]
            if len(flat) != len(set(flat)):
                return f"{name}: one of its channels belongs to several units"
    return None


def _varying(group: ChannelGroup, calls: Mapping[str, Range]) -> str | None:
    """Why a group must stay whole if its layers are not always called together."""
    known = {name: calls[name] for name in sorted(group.members) if name in calls}
    if len(set(known.values())) < 2 or all(least == most for least, most in known.values()):
        return None
    name, (least, most) = next((k, v) for k, v in known.items() if v[0] != v[1])
    return f"{name} is called {least} to {most} times, depending on the data"


def _sides(group: ChannelGroup) -> Iterator[tuple[str, Mapping[str, Units]]]:
    yield "writer", group.writers
    yield "reader", group.readers
    yield "follower", group.followers

"""Which channels of a network can only be removed together: torch-pruning's graph, verified.

The graph can be wrong and still give a network that runs. So a group is accepted only if removing
some of its channels gives the same outputs as masking them, see ``eckart.network.verifying``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from eckart.layers import no_narrowing
from eckart.network.norm_groups import in_norm_groups
from eckart.network.tracing import traced
from eckart.network.verifying import Verification
from eckart.records import ChannelGroup
from eckart.records.channels import Units
from eckart.running.deadline import Deadline, TimeUp

SECONDS = 120.0
_WRONG = "removing its channels does not give the same outputs as masking them"
_LATE = "it was not verified within {:g} s"

Range = tuple[int, int]


@dataclass(frozen=True)
class Coupling:
    """The channel groups of a network.

    Attributes:
        groups: the verified groups, which can be narrowed.
        refused: why a group cannot be narrowed, by name.
    """

    groups: tuple[ChannelGroup, ...]
    refused: Mapping[str, str]

    @property
    def late(self) -> bool:
        """Whether something was refused because the time was up."""
        return any(" within " in why for why in self.refused.values())


def coupling(
    model: nn.Module,
    example: Any,
    dense: Iterable[str] = (),
    *,
    sample: Sequence[Any] = (),
    whole: bool = False,
    calls: Mapping[str, Range] | None = None,
    seconds: float = SECONDS,
) -> Coupling:
    """Find the groups of coupled channels and keep those that can really be removed.

    Args:
        model: the network.
        example: one example's inputs.
        dense: modules that must stay as they are.
        sample: more inputs, in batches, on a few of which groups are tried in both modes.
        whole: whether batches cannot be cut.
        calls: by layer, the least and the largest number of calls in a batch, if they are known. A
            group whose layers are called sometimes more and sometimes less often than the others is
            refused, because the channels may meet others then.
        seconds: after which to give up: half of them for tracing. What was given up is refused.

    Returns:
        Verified groups, and the reason against each of the others.

    Cost: one traced pass, and two passes per verification. Wrong groups are found by bisection.
    """
    import torch_pruning  # noqa: F401  here, because it brings torchvision with it; not timed

    deadline, tracing = Deadline(seconds), Deadline(seconds / 2)
    try:
        with tracing.interrupting():
            pools = _pooled(traced(model, example))
    except TimeUp:
        why = f"tracing did not end within {seconds / 2:g} s, so all channels stay"
        return Coupling((), {"channels": why})
    except Exception as error:  # tracing runs the network, which may raise anything
        why = f"channels cannot be traced ({type(error).__name__}: {error!s:.100})"
        return Coupling((), {"channels": why})
    kept, refused = [], {}
    fixed = set(dense)
    for group in (in_norm_groups(model, pool) for pool in pools):
        reason = _refusal(model, group, fixed) or _varying(group, calls or {})
        if reason is None:
            kept.append(group)
        elif group.readers:
            refused[group.name] = reason
    verification = Verification(model, example, sample, whole, deadline)
    believed = verification.verified(kept)
    late = {group.name for group in verification.given_up}
    for group in kept:
        if group not in believed:
            refused[group.name] = _LATE.format(seconds) if group.name in late else _WRONG
    return Coupling(tuple(believed), refused)


def _pooled(groups: Sequence[ChannelGroup]) -> list[ChannelGroup]:
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


def _refusal(model: nn.Module, group: ChannelGroup, dense: set[str]) -> str | None:
    """Why a group must stay whole, if this is known before any trial; else None."""
    if not group.readers:
        return "only the network's output reads it"
    if group.size < 2:
        return "a single channel stays"
    asked = sorted(group.members & dense)
    if asked:
        return f"{asked[0]} stays dense"
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

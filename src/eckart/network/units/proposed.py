"""Which groups of channels a network may have, by the layers of its modules."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from eckart.network.units.heads import attention_heads
from eckart.network.units.mlps import widths
from eckart.network.units.order import Stretch, stretches
from eckart.records import ChannelGroup


@dataclass(frozen=True)
class Candidate:
    """What may be a group, to be tried.

    Attributes:
        layouts: the same channels in different orders, or with more layers; the first that holds
            true is the group.
        heads: whether the units are heads of attention.
    """

    layouts: Sequence[ChannelGroup]
    heads: bool

    @property
    def members(self) -> set[str]:
        """The layers that one of the layouts changes."""
        return {name for layout in self.layouts for name in layout.members}


def candidates(model: nn.Module, example: Any) -> list[Candidate]:
    """The widths of MLPs, and the heads of attention, as far as the layers show them.

    Args:
        model: the network.
        example: inputs that it runs on.

    Cost: one forward pass.
    """
    found = stretches(model, example)
    layouts = [list(attention_heads(model, stretch)) for stretch in found]
    heads = [Candidate(some, heads=True) for some in layouts if some]
    attending = {name for candidate in heads for name in candidate.members}
    others = (_without(stretch, attending) for stretch in found)
    mlps = [list(widths(stretch)) for stretch in others if stretch is not None]
    return [*heads, *(Candidate(some, heads=False) for some in mlps if some)]


def _without(stretch: Stretch, names: Collection[str]) -> Stretch | None:
    """What is left without the layers of attention; None if nothing is."""
    before = tuple(matrix for matrix in stretch.before if matrix.name not in names)
    if stretch.last.name in names or not before:
        return None
    return replace(stretch, before=before)

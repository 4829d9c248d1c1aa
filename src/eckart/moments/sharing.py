"""What parts of the data have in common: shared inputs, numbers of calls, what nothing used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eckart.records.forms import LayerSpec


def sharing_differs(parts: Sequence[Mapping[str, LayerSpec]]) -> set[str]:
    """Layers that do not share their input in the same way in all parts of the data."""
    keys = [{name: spec.input for name, spec in specs.items()} for specs in parts]
    return {name for part in keys for name in part if any(k.get(name) != part[name] for k in keys)}


def widest(parts: Sequence[Mapping[str, tuple[int, int]]]) -> dict[str, tuple[int, int]]:
    """The least and the largest number of calls over all parts of the data, by layer."""
    known = {
        name: [part[name] for part in parts if name in part] for part in parts for name in part
    }
    return {
        name: (min(least for least, _ in found), max(most for _, most in found))
        for name, found in known.items()
    }


def in_all(parts: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The names that are in every part, in the order of the first."""
    first, *others = parts or [()]
    return tuple(name for name in first if all(name in other for other in others))

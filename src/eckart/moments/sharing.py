"""Which layers read one tensor, and so share the sum of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eckart.records.forms import LayerSpec


def sharing_differs(parts: Sequence[Mapping[str, LayerSpec]]) -> set[str]:
    """Layers that do not share their input in the same way in all parts of the data."""
    keys = [{name: spec.input for name, spec in specs.items()} for specs in parts]
    return {name for part in keys for name in part if any(k.get(name) != part[name] for k in keys)}

"""Which modules of a fresh network must be opened, so that a saved one fits: the file says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from eckart.checkpoint.names import Named, named
from eckart.errors import CheckpointError
from eckart.layers import piece_of, type_of
from eckart.network.twins import around, composites
from eckart.records import Form


def twins_for(model: nn.Module, structure: Mapping[str, Any]) -> dict[str, nn.Module]:
    """The twins that a fresh network needs, by the name of the module that each replaces.

    A composite is opened if the structure has the form of a layer that is in it or is it, and that
    the fresh network does not have as it is.

    Args:
        model: dense, of the original class; it is not changed.
        structure: of the saved network; nothing in it is trusted.
    """
    found, forms = composites(model), structure.get("forms")
    if not found or not isinstance(forms, dict):
        return {}
    parts = named(model)
    plain = {place: name for name, place in parts.places.items()}
    meant = [replace(composite, name=plain[composite.name]) for composite in found]
    alone = {composite.name for composite in meant}
    missing = [n for n, form in forms.items() if _is_missing(parts, n, form, n in alone)]
    return {parts.places[c.name]: c.opened() for c in around(meant, missing)}


def _is_missing(parts: Named, name: str, form: Any, is_composite: bool) -> bool:
    """Whether the fresh network has no such layer, or a composite where the file has factors."""
    module = parts.modules.get(name)
    if module is None or type_of(module) is None:
        return True
    return is_composite and _read(form) not in (None, Form((piece_of(module),)))


def _read(form: Any) -> Form | None:
    """The form, or None where it is damaged, which is said later."""
    try:
        return Form.from_json(form)
    except CheckpointError:
        return None

"""What ``eckart.json`` says of a network, checked against the fresh model that it is to be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from eckart.errors import MALFORMED, CheckpointError
from eckart.layers import norm_width, type_of
from eckart.records import Form, Plan
from eckart.storage.tensors import MAX_JSON_BYTES

FORMAT = "eckart.network/3"
WEIGHTS, CHANGED_WEIGHTS, STRUCTURE = "model.safetensors", "eckart.safetensors", "eckart.json"


def structure_in(directory: Path) -> dict[str, Any]:
    """What the file holds.

    Raises:
        CheckpointError: it is missing, damaged, vast, or of another version.
    """
    path = directory / STRUCTURE
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise CheckpointError(f"{path} is too large to be a network's structure")
        structure = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    if not isinstance(structure, dict) or not str(structure.get("format")).startswith("eckart."):
        raise CheckpointError(f"{path} is no structure that eckart wrote")
    if structure["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has the format {structure['format']!r:.60}; this version reads {FORMAT!r}: "
            "install the version of eckart that wrote it"
        )
    return structure


def weights_in(directory: Path, structure: Mapping[str, Any]) -> Path:
    """The file of weights that belongs to it."""
    name = structure.get("weights", WEIGHTS)
    if name not in (WEIGHTS, CHANGED_WEIGHTS):
        raise CheckpointError(f"the structure names {name!r:.80} as the file of weights")
    return directory / str(name)


def changed_forms(structure: Mapping[str, Any], model: nn.Module) -> dict[str, Form]:
    """The form of each layer that changed, checked against the dense layer it replaces."""
    raw = structure.get("forms")
    if not isinstance(raw, dict):
        raise CheckpointError("the structure holds no forms")
    layers, weights = dict(model.named_modules()), model.state_dict()
    forms = {}
    for name, data in raw.items():
        kind = type_of(layers[name]) if name in layers and f"{name}.weight" in weights else None
        if kind is None:
            raise CheckpointError(
                f"the saved network has a factored layer {name!r:.80}, and the fresh model has no "
                "such layer: make it with the class and arguments of the original"
            )
        dense = kind.piece(layers[name])
        try:
            form = Form.from_json(data)
            form.check_replaces(dense)
        except CheckpointError as error:
            raise CheckpointError(f"the saved layer {name!r:.80}: {error}") from error
        if form != Form((dense,)):
            forms[name] = form
    return forms


def narrower_norms(structure: Mapping[str, Any], model: nn.Module) -> dict[str, int]:
    """Channels of each norm that lost some."""
    raw, modules = structure.get("norms"), dict(model.named_modules())
    if not isinstance(raw, dict):
        raise CheckpointError("the structure holds no norms")
    norms = {}
    for name, width in raw.items():
        dense = norm_width(modules[name]) if name in modules else None
        whole = isinstance(width, int) and not isinstance(width, bool)
        if dense is None or not whole or not 1 <= width <= dense:
            raise CheckpointError(
                f"the saved norm {name!r:.80} of width {width!r:.20} does not fit this model: make "
                "it with the class and arguments of the original"
            )
        if width != dense:
            norms[name] = width
    return norms


def plan_in(structure: Mapping[str, Any]) -> Plan | None:
    """The plan as provenance; one that cannot be read is dropped, for nothing depends on it."""
    try:
        return Plan.from_json(structure["plan"])
    except (CheckpointError, *MALFORMED):
        return None

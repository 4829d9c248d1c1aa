"""What ``eckart.json`` says about a network, checked against the fresh model to be filled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from eckart.checkpoint.folder import SQUEEZED, STRUCTURE, is_weights
from eckart.checkpoint.names import Named
from eckart.errors import MALFORMED, CheckpointError
from eckart.layers import channels_normalised_together, norm_width, type_of
from eckart.records import Form, Plan
from eckart.storage.compact import Weights, expanded
from eckart.storage.reading import read_json, read_sealed
from eckart.storage.tensors import opened_tensors

FORMAT = "eckart.network/4"


def structure_in(directory: Path) -> dict[str, Any]:
    """The content of ``eckart.json`` in a folder.

    Raises:
        CheckpointError: the file is missing, damaged, too large, or of another version.
    """
    path = directory / STRUCTURE
    structure = read_json(path)
    if not isinstance(structure, dict) or not str(structure.get("format")).startswith("eckart."):
        raise CheckpointError(f"{path} is not a structure that eckart wrote")
    if structure["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has the format {structure['format']!r:.60}; this version reads {FORMAT!r}: "
            "with the version of eckart that wrote it, load it and save eckart.merge(model); or "
            "compress again"
        )
    content = read_sealed(path)
    if SQUEEZED not in content:
        return content
    try:
        rest = expanded(content.pop(SQUEEZED))
    except CheckpointError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    if not isinstance(rest, dict):
        raise CheckpointError(f"{path} is not a structure that eckart wrote")
    return {**rest, **content}


@contextmanager
def opened_network(directory: Path) -> Iterator[tuple[dict[str, Any], Weights]]:
    """The structure in a folder, and the open file of the weights that it names.

    If another save replaces the network in between, the new network is read.

    Raises:
        CheckpointError: a file is missing or damaged, or the two do not belong together.
    """
    with ExitStack() as stack:
        structure = structure_in(directory)
        while True:
            try:
                weights = stack.enter_context(_opened_weights(directory, structure))
                break
            except CheckpointError:
                now = structure_in(directory)
                if now == structure:
                    raise
                structure = now
        yield structure, weights


@contextmanager
def _opened_weights(directory: Path, structure: Mapping[str, Any]) -> Iterator[Weights]:
    described = structure.get("weights")
    name = described.get("file") if isinstance(described, dict) else described
    if not isinstance(described, dict) or not is_weights(name):
        raise CheckpointError(f"the structure names {name!r:.80} as the file of weights")
    with opened_tensors(directory / str(name)) as file:
        if file.header.digest != described.get("digest"):
            raise CheckpointError(
                f"{file.path} does not hold the weights that {STRUCTURE} was written with"
            )
        yield Weights.of(file)


def changed_forms(structure: Mapping[str, Any], model: Named) -> dict[str, Form]:
    """The form of each layer that changed, checked against the dense layer it replaces."""
    raw = structure.get("forms")
    if not isinstance(raw, dict):
        raise CheckpointError("the structure does not list the forms of layers")
    forms = {}
    for name, data in raw.items():
        layer = model.modules.get(name)
        kind = None if layer is None else type_of(layer)
        if layer is None or kind is None or not isinstance(layer.weight, Tensor):
            raise CheckpointError(
                f"the saved network has a factored layer {name!r:.80}, and the fresh model has no "
                "such layer: make the model with the class and arguments of the original"
            )
        dense = kind.piece(layer)
        try:
            form = Form.from_json(data)
            form.check_replaces(dense)
        except CheckpointError as error:
            raise CheckpointError(f"the saved layer {name!r:.80}: {error}") from error
        if form != Form((dense,)):
            forms[name] = form
    return forms


def narrower_norms(structure: Mapping[str, Any], model: Named) -> dict[str, int]:
    """Number of channels of each norm that has fewer than the dense one."""
    raw, modules = structure.get("norms"), model.modules
    if not isinstance(raw, dict):
        raise CheckpointError("the structure does not list the widths of norms")
    norms = {}
    for name, width in raw.items():
        dense = norm_width(modules[name]) if name in modules else None
        whole = isinstance(width, int) and not isinstance(width, bool)
        together = channels_normalised_together(modules[name]) if dense else 1
        if dense is None or not whole or not 1 <= width <= dense or width % together:
            raise CheckpointError(
                f"the saved norm {name!r:.80} of width {width!r:.20} does not fit this model: make "
                "the model with the class and arguments of the original"
            )
        if width != dense:
            norms[name] = width
    return norms


def plan_in(structure: Mapping[str, Any]) -> Plan | None:
    """The plan as provenance; None if it cannot be read, because nothing depends on it."""
    try:
        return Plan.from_json(structure["plan"])
    except (CheckpointError, *MALFORMED):
        return None

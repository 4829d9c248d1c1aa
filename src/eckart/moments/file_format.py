"""What a file of moments holds besides the sums, as JSON, and how it is checked."""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from eckart.errors import CheckpointError, InputError
from eckart.moments.scatter import Scatter
from eckart.records.forms import LayerSpec
from eckart.records.spreads import Spread, output_key
from eckart.storage.header import Header

FORMAT = "eckart.moments/8"
WITHOUT_SCATTERS = "eckart.moments/7"
"""The format before it, which is read too."""
PARTS = {"gram": "grams", "total": "totals", "output": "output_grams", "joint": "joint_grams"}
"""By the beginning of tensors' names in the file, the field that they belong to."""


def scatter_key(kind: str, key: str) -> str:
    """The name of a sum's scatter: the kind of sum, as in the file, and the layer or input."""
    return f"{kind}/{key}"


_COUNTS = ("examples", "outputs", "batches")


_PLAIN = (
    *("rows", "examples", "outputs", "batches", "metric", "skipped", "fingerprint"),
    *("model_costs", "left_out", "whole_batches"),
)
"""The fields that are plain JSON."""

_SEQUENCES: Mapping[str, type] = {"sequence": PackedSequence, "tuple": tuple, "list": list}
"""The classes of sequences in an example, by the names in the file."""


def description(fields: Mapping[str, Any], leaves: list[Tensor]) -> dict[str, Any]:
    """What the file says besides the sums: the other fields of ``Moments``, by name, as JSON.

    Args:
        fields: of ``Moments``.
        leaves: the tensors of the example and the sample are appended to it.
    """
    return {
        **{name: fields[name] for name in _PLAIN},
        "specs": [spec.as_json() for spec in fields["specs"].values()],
        "example": packed(fields["example"], leaves),
        "sample": packed(fields["sample"], leaves),
        "spreads": {path: spread.as_json() for path, spread in fields["spreads"].items()},
        "scatters": {name: scatter.as_json() for name, scatter in fields["scatters"].items()},
        "calls": {name: list(found) for name, found in fields["calls"].items()},
        "unreached": list(fields["unreached"]),
    }


def packed(value: Any, leaves: list[Tensor]) -> Any:
    """The example's structure as JSON; its tensors are appended to ``leaves``."""
    if isinstance(value, Tensor):
        leaves.append(value.detach().cpu())
        return {"tensor": len(leaves) - 1}
    if isinstance(value, tuple | list):
        kind = next(k for k, t in _SEQUENCES.items() if isinstance(value, t))
        items = [packed(item, leaves) for item in value]
        fields = getattr(value, "_fields", None) if kind == "tuple" else None
        return {"named": {"fields": [*fields], "items": items}} if fields else {kind: items}
    if isinstance(value, dict):
        return {"dict": {str(k): packed(v, leaves) for k, v in value.items()}}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise InputError(
        f"an example of type {type(value).__name__} cannot be saved with the moments: they can be "
        "used as they are; to save them, let the batches be tensors in tuples, lists and dicts"
    )


def unpacked(data: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of ``packed``, with the tensors of a file.

    Raises:
        One of ``MALFORMED``: the structure is not one that ``packed`` makes.
    """
    ((kind, value),) = data.items()
    if kind == "tensor":
        return tensors[f"example/{value}"]
    if kind == "dict":
        return {k: unpacked(v, tensors) for k, v in value.items()}
    if kind == "value" and not isinstance(value, dict | list):
        return value
    if kind == "named":
        items = [unpacked(item, tensors) for item in value["items"]]
        return namedtuple("Inputs", value["fields"])(*items)
    if kind not in _SEQUENCES:
        raise ValueError(f"{kind!r:.40} is not a kind of example")
    items = [unpacked(item, tensors) for item in value]
    return PackedSequence(*items) if kind == "sequence" else _SEQUENCES[kind](items)


def described_in(header: Header) -> dict[str, Any]:
    """The fields of ``Moments`` that are not tensors, checked against the shapes in the file.

    Raises:
        CheckpointError: the file holds something else.
        One of ``MALFORMED``: the file was damaged, or made by somebody else.
    """
    found = header.metadata.get("format", "none")
    if found not in (FORMAT, WITHOUT_SCATTERS):
        raise CheckpointError(
            f"it has the format {found!r:.60}, but this version reads {FORMAT}: calibrate again"
        )
    meta = json.loads(header.metadata["moments"])
    if found == WITHOUT_SCATTERS:
        meta["scatters"] = {}
    specs = [_spec(raw) for raw in meta["specs"]]
    _check_numbers(meta, specs)
    calls = {name: (_count(least), _count(most)) for name, (least, most) in meta["calls"].items()}
    spreads = {path: Spread.from_json(raw) for path, raw in meta["spreads"].items()}
    scatters = {name: Scatter.from_json(raw) for name, raw in meta["scatters"].items()}
    shapes = {name: entry.shape for name, entry in header.entries.items()}
    _check_real({name: entry.dtype for name, entry in header.entries.items()})
    for spec in specs:
        _check_sums(spec, meta["rows"], shapes, ["", *spreads])
    _check_names(specs, [*shapes, *scatters], ["", *spreads])
    return {
        **meta,
        "specs": {spec.name: spec for spec in specs},
        "spreads": spreads,
        "scatters": scatters,
        "calls": calls,
        "unreached": tuple(meta["unreached"]),
    }


def _spec(raw: Any) -> LayerSpec:
    spec = LayerSpec.from_json(raw)
    if not all(isinstance(text, str) for text in (spec.name, spec.type, spec.input)):
        raise TypeError("a layer's name, type and input must be texts")
    sizes = [n for size in spec.sizes for n in size]
    if not all(_is_count(n, least=1) for n in [*sizes, spec.itemsize]) or not spec.dense.is_plain:
        raise ValueError(f"layer {spec.name!r:.80} cannot have these sizes")
    return spec


def _check_numbers(meta: Mapping[str, Any], specs: list[LayerSpec]) -> None:
    least = int(bool(specs))  # an interrupted pass may have no layers yet
    counts = [*(meta[name] for name in _COUNTS), *meta["rows"].values()]
    if not all(_is_count(count, least) for count in counts):
        raise ValueError(f"{', '.join(_COUNTS)} and rows must be counts")
    if not all(_is_count(cost, 0) for cost in meta["model_costs"].values()):
        raise ValueError("costs must be whole numbers")
    if not isinstance(meta["whole_batches"], bool):
        raise TypeError("whole_batches must be true or false")
    texts = [meta["fingerprint"], meta["metric"] or "", *meta["skipped"].values()]
    texts += [*meta["left_out"].values(), *meta["unreached"]]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("fingerprint, metric, reasons and names must be texts")


def _check_sums(
    spec: LayerSpec,
    rows: Mapping[str, int],
    shapes: Mapping[str, tuple[int, ...]],
    paths: Sequence[str],
) -> None:
    groups, out, size = spec.piece.moment_shape
    gram, total = (groups, size, size), (groups, spec.piece.matrix_shape[2])
    needed = {
        f"gram/{spec.input}": gram,
        f"total/{spec.input}": total,
        f"diagonal/gram/{spec.input}": (groups, size),
    }
    if f"joint/{spec.name}" in shapes:
        needed[f"joint/{spec.name}"] = gram
        needed[f"output/{spec.name}"] = (groups, out, out)
    for key in (output_key(spec.name, path) for path in paths):
        if {f"output/{key}", f"diagonal/output/{key}"} & {*shapes, *needed}:
            needed[f"output/{key}"] = (groups, out, out)
            needed[f"diagonal/output/{key}"] = (groups, out)
    if any(shapes.get(name) != shape for name, shape in needed.items()) or spec.input not in rows:
        raise ValueError(f"the sums of layer {spec.name!r:.80} do not fit its shapes")


def _check_real(dtypes: Mapping[str, torch.dtype]) -> None:
    """Check that all sums are of real numbers."""
    for name, dtype in dtypes.items():
        if name.partition("/")[0] in {*PARTS, "diagonal"} and not dtype.is_floating_point:
            raise ValueError(f"{name!r:.80} is of {dtype}, which no sum is")


def _check_names(specs: list[LayerSpec], names: Iterable[str], paths: Sequence[str]) -> None:
    """Check that every sum belongs to a layer or to the input of one."""
    layers, inputs = {spec.name for spec in specs}, {spec.input for spec in specs}
    outputs = {output_key(layer, path) for layer in layers for path in paths}
    of = {"gram": inputs, "total": inputs, "output": outputs, "joint": layers}
    for name in names:
        part, _, key = name.partition("/")
        if part in of and key not in of[part]:
            raise ValueError(f"{name!r:.80} does not belong to any layer of the file")


def _count(value: Any) -> int:
    if not _is_count(value, 0):
        raise ValueError("numbers of calls must be counts")
    count: int = value
    return count


def _is_count(value: Any, least: int) -> bool:
    return type(value) is int and least <= value < 2**63

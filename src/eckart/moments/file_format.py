"""What the file of moments holds beside the sums, as JSON, and how it is checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from eckart.errors import InputError
from eckart.records.forms import LayerSpec

PARTS = {"gram": "grams", "total": "totals", "output": "output_grams", "joint": "joint_grams"}
"""The field whose tensors have names in the file that begin so."""


def packed(value: Any, leaves: list[Tensor]) -> Any:
    """The example's structure as JSON; its tensors go to ``leaves``."""
    if isinstance(value, Tensor):
        leaves.append(value.detach().cpu())
        return {"tensor": len(leaves) - 1}
    if isinstance(value, tuple | list):
        return {type(value).__name__: [packed(item, leaves) for item in value]}
    if isinstance(value, dict):
        return {"dict": {str(k): packed(v, leaves) for k, v in value.items()}}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise InputError(f"an example of type {type(value).__name__} cannot be saved with the moments")


def _unpacked(data: Any, tensors: Mapping[str, Tensor]) -> Any:
    (kind, value), *_ = data.items()
    if kind == "tensor":
        return tensors[f"example/{value}"].clone()  # a view would hold on to the whole file
    if kind == "dict":
        return {k: _unpacked(v, tensors) for k, v in value.items()}
    if kind == "value":
        return value
    items = [_unpacked(item, tensors) for item in value]
    return tuple(items) if kind == "tuple" else items


def fields_in(meta: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The fields of ``Moments`` from a file's metadata and tensors; the shapes are checked."""
    sums: dict[str, dict[str, Tensor]] = {field: {} for field in PARTS.values()}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        if part in PARTS:
            sums[PARTS[part]][name] = tensor
    specs = [LayerSpec.from_json(spec) for spec in meta["specs"]]
    for spec in specs:
        _check_sums(spec, meta["rows"], sums)
    inputs = {key: _unpacked(meta[key], tensors) for key in ("example", "sample")}
    return {**meta, **sums, "specs": {spec.name: spec for spec in specs}, **inputs}


def _check_sums(spec: LayerSpec, rows: Mapping[str, int], sums: Mapping[str, Any]) -> None:
    groups, out, inputs = spec.piece.matrix_shape
    gram, total = sums["grams"][spec.input], sums["totals"][spec.input]
    output, joint = (sums[part].get(spec.name) for part in ("output_grams", "joint_grams"))
    fits = gram.shape == (groups, inputs, inputs) and total.shape == (groups, inputs)
    fits = fits and (output is None or output.shape == (groups, out, out))
    fits = fits and (joint is None or (joint.shape == gram.shape and output is not None))
    if not fits or spec.input not in rows:
        raise ValueError(f"the sums of layer {spec.name!r} do not fit its shapes")

"""Which tensors a file of weights must hold, and a check of this by its header alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from eckart.checkpoint.names import Named
from eckart.errors import CheckpointError
from eckart.layers import norm_width
from eckart.records import Form
from eckart.storage.header import Outline


def outlines_with(
    model: Named,
    forms: Mapping[str, Form],
    norms: Mapping[str, int],
    found: Mapping[str, Outline],
) -> dict[str, Outline]:
    """Shape and dtype of every tensor of a network after some layers and norms have changed.

    ``found`` is what the file holds, because it decides the half precision of scales.
    """
    outlines: dict[str, Outline] = {
        name: (tuple(tensor.shape), tensor.dtype) for name, tensor in model.state.items()
    }
    for layer, form in forms.items():
        dense = model.modules[layer].weight
        for name in [name for name in outlines if name.startswith(f"{layer}.")]:
            del outlines[name]  # also tensors of weight norm and pruning; they go with the layer
        outlines |= outlines_of_form(layer, form, dense.dtype, found)  # type: ignore[arg-type]
    for norm, width in norms.items():
        dense_width = norm_width(model.modules[norm])
        for name, (shape, dtype) in list(outlines.items()):
            if name.rpartition(".")[0] == norm and shape == (dense_width,):
                outlines[name] = ((width,), dtype)
    return outlines


def outlines_of_form(
    layer: str, form: Form, dtype: torch.dtype, found: Mapping[str, Outline]
) -> dict[str, Outline]:
    """Shape and dtype of every tensor of one layer; scales may be of either half precision."""
    outlines: dict[str, Outline] = {}
    for index, piece in enumerate(form.pieces):
        place = layer if form.is_plain else f"{layer}.{index}"
        if piece.carries:
            outlines[f"{place}.rest.weight"] = (piece.rest.weight_shape, dtype)
            outlines[f"{place}.order"] = ((piece.outputs,), torch.int64)
        elif piece.bits:
            outlines[f"{place}.codes"] = ((piece.code_bytes,), torch.uint8)
            scale = f"{place}.scale"
            outlines[scale] = (piece.scales, _half_precision(found.get(scale)))
            if piece.activations:
                outlines[f"{place}.activations.input"] = ((2,), torch.float32)
            if piece.activations and piece.kernel:
                outlines[f"{place}.activations.output"] = ((2, piece.outputs), torch.float32)
        else:
            outlines[f"{place}.weight"] = (piece.weight_shape, dtype)
        if piece.bias:
            outlines[f"{place}.bias"] = ((piece.outputs,), dtype)
    return outlines


def _half_precision(found: Outline | None) -> torch.dtype:
    """The dtype of scales: bfloat16 if they are found in it, else float16."""
    return torch.bfloat16 if found is not None and found[1] is torch.bfloat16 else torch.float16


def tied_names(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The first name, in alphabetical order, of each tensor among the names that share it."""
    first: dict[tuple[object, ...], str] = {}
    tied = {}
    for name in sorted(state):
        tensor = state[name]
        if tensor.layout != torch.strided or not tensor.numel() or tensor.is_meta:
            tied[name] = name
            continue
        key = (tensor.data_ptr(), tensor.device, tensor.dtype, tensor.shape, tensor.stride())
        tied[name] = first.setdefault(key, name)
    return tied


def check_weights(
    path: Path,
    found: Mapping[str, Outline],
    expected: Mapping[str, Outline],
    tied: Mapping[str, str],
) -> None:
    """Compare a file's header, before any tensor is read, with what is expected.

    Args:
        path: of the file, for the message.
        found: shape and dtype by name, in the file.
        expected: shape and dtype by name.
        tied: for every name, the first name of the same tensor; the file holds one of the names.

    Raises:
        CheckpointError: anything is missing, surplus or different.
    """
    first: dict[str, str] = {}
    for name in found:
        twin = first.setdefault(tied.get(name, name), name)
        if twin != name:
            raise CheckpointError(
                f"{path} does not fit this model: it holds {twin!r} and {name!r} separately, and "
                "here they share one weight"
            )
    present = {tied.get(name, name) for name in found}
    missing = sorted(name for name in expected if tied.get(name, name) not in present)
    surplus = sorted(set(found) - set(expected))
    if missing or surplus:
        raise CheckpointError(
            f"{path} does not fit this model: missing {missing[:5]}, surplus {surplus[:5]}; make "
            "the model with the class and arguments of the original"
        )
    for name, outline in found.items():
        if outline != expected[name]:
            raise CheckpointError(
                f"{path} does not fit this model: {name!r} is {outline} in the file and "
                f"{expected[name]} here; convert the fresh model with .to(dtype) first if only the "
                "dtype differs"
            )


def check_orders(path: Path, layers: Iterable[str], tensors: Mapping[str, Tensor]) -> None:
    """Check that the order of every piece that carries is a permutation; it serves as an index.

    Args:
        path: the file, for the message.
        layers: the names of the pieces that carry.
        tensors: what the file holds.

    Raises:
        CheckpointError: the ``order`` of one of them is not a permutation.
    """
    for layer in layers:
        order = tensors[f"{layer}.order"]
        if not torch.equal(order.sort().values, torch.arange(len(order))):
            raise CheckpointError(f"{path}: the order of layer {layer!r} is not a permutation")

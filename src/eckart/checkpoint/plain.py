"""A folder that ``transformers`` and serving engines read without eckart."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eckart.checkpoint.folder import STRUCTURE
from eckart.checkpoint.merging import merge
from eckart.checkpoint.names import inside, named
from eckart.checkpoint.packing import Packed, described, packed_layers
from eckart.checkpoint.transformers import CONFIG, describe, uninitialised
from eckart.checkpoint.weights import tied_names
from eckart.errors import InputError, WriteError
from eckart.layers import Factored
from eckart.network.third_party import is_pretrained
from eckart.storage.leftovers import folder_beside, held, remove_leftovers
from eckart.storage.reading import read_json
from eckart.storage.tensors import write_tensors
from eckart.storage.writing import make_folder, shown, write_bytes, write_json

WEIGHTS = "model.safetensors"
_WIDTH = "intermediate_size"
_MOST_NAMED = 4
_NOT_PLAIN = (
    "is not of the shapes that its configuration says, so from_pretrained could not read it ({}): "
    "save it without format=, for eckart.load_pretrained, or keep these layers with dense=[...]"
)


def write_plain(model: nn.Module, directory: str | Path, tokenizer: Any = None) -> None:
    """Write a model of ``transformers`` with linear layers in codes as ``compressed-tensors``.

    Raises:
        InputError: it is another network, it has factors, or widths that no configuration can say.
        WriteError: the disk is full, or the folder holds a network that eckart wrote.
    """
    inner = inside(model)
    if not is_pretrained(inner):
        raise InputError(
            "format='compressed-tensors' is for models of transformers: save other networks "
            "without format=, or use eckart.export"
        )
    _check_not_factored(inner)
    packed = packed_layers(inner, inner.dtype)  # type: ignore[arg-type]
    dense = merge(inner)
    config = _fitting_config(dense)
    state = named(dense).state
    packed = {name: layer for name, layer in packed.items() if f"{name}.weight" in state}
    tensors = _tensors(state, packed)
    linear = {n for n, m in dense.named_modules() if type(m) is nn.Linear}
    _written(inner, directory, tokenizer, tensors, config | _said(packed, linear))


def _said(packed: Mapping[str, Packed], linear: set[str]) -> dict[str, Any]:
    """What the configuration says of codes; nothing where there are none."""
    known = {"quantization_config": described(packed, linear - packed.keys())}
    return known if packed else {}


def _check_not_factored(model: nn.Module) -> None:
    chains = [n for n, m in model.named_modules() if type(m) is Factored and len(m) > 1]
    if chains:
        raise InputError(
            f"{len(chains)} layers are factors ({_some(chains)}), which from_pretrained has no "
            "layers for: compress with methods=['rounding'] alone, save without format= for "
            "eckart.load_pretrained, or call eckart.merge on the network first"
        )


def _fitting_config(dense: nn.Module) -> dict[str, Any]:
    """The entries of the configuration that must change for the shapes of a network.

    Raises:
        InputError: there are none that fit.
    """
    ours = {name: tuple(tensor.shape) for name, tensor in dense.state_dict().items()}
    differ = _differing(dense, ours, {})
    width = getattr(dense.config, _WIDTH, None)
    found = {size for name, size in differ.values() if name == width}
    changed = {_WIDTH: found.pop()} if len(found) == 1 and isinstance(width, int) else {}
    if differ and (not changed or (differ := _differing(dense, ours, changed))):
        raise InputError(f"this {type(dense).__name__} {_NOT_PLAIN.format(_some(sorted(differ)))}")
    return changed


def _differing(
    dense: nn.Module, ours: Mapping[str, tuple[int, ...]], changed: Mapping[str, Any]
) -> dict[str, tuple[int, int]]:
    """The tensors of other shapes than a configuration gives, with the sizes that differ first."""
    config = copy.deepcopy(dense.config)
    for key, value in changed.items():
        setattr(config, key, value)
    with torch.device("meta"):
        blank = uninitialised(type(dense), config, dense.dtype)  # type: ignore[arg-type]
    theirs = {name: tuple(tensor.shape) for name, tensor in blank.state_dict().items()}
    sizes = {n: zip(theirs.get(n, ()), ours.get(n, ()), strict=False) for n in {**ours, **theirs}}
    return {
        name: next(((a, b) for a, b in pairs if a != b), (0, 0))
        for name, pairs in sizes.items()
        if ours.get(name) != theirs.get(name)
    }


def _tensors(state: Mapping[str, Tensor], packed: Mapping[str, Packed]) -> dict[str, Tensor]:
    """What the file holds: each tensor once, weights in codes packed."""
    tied, found = tied_names(state), dict[str, Tensor]()
    for name, tensor in state.items():
        layer, _, leaf = name.rpartition(".")
        if leaf == "weight" and layer in packed:
            found |= packed[layer].tensors(layer)
        elif tied[name] == name:
            found[name] = tensor
    return found


def _written(
    model: nn.Module,
    directory: str | Path,
    tokenizer: Any,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
) -> None:
    """The weights first, then what describes them."""
    folder = make_folder(directory)
    if (folder / STRUCTURE).exists():
        raise WriteError(f"{shown(folder)} holds a network that eckart wrote: give another folder")
    with held(folder):
        remove_leftovers(folder)
        with folder_beside(folder / CONFIG) as prepared:
            describe(model, prepared, tokenizer)
            write_json(prepared / CONFIG, {**read_json(prepared / CONFIG), **config})
            write_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
            for path in sorted(path for path in prepared.iterdir() if path.is_file()):
                write_bytes(folder / path.name, path.read_bytes())


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more

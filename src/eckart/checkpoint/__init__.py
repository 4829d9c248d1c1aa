"""Save a smaller network and load it into a fresh dense one: safetensors and JSON, no pickle."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_model
from torch import nn
from torch.nn.parameter import is_lazy

from eckart.checkpoint.structure import (
    CHANGED_WEIGHTS,
    FORMAT,
    STRUCTURE,
    WEIGHTS,
    changed_forms,
    narrower_norms,
    plan_in,
    structure_in,
    weights_in,
)
from eckart.checkpoint.transformers import CONFIG, blank_model, check_merged, convert, describe
from eckart.checkpoint.weights import check_orders, check_weights
from eckart.errors import CheckpointError
from eckart.layers import (
    Factored,
    blank,
    blank_norm,
    factors_in,
    norm_width,
    piece_of,
    type_of,
)
from eckart.network.plan_attribute import attach_plan, plan_of
from eckart.network.third_party import is_pretrained
from eckart.records import Form
from eckart.storage.tensors import Outline, outlines_of


def save(model: nn.Module, directory: str | Path, tokenizer: Any = None) -> None:
    """Write weights and ``eckart.json``, each whole or not at all, for ``load``.

    The structure is read off the network itself; the plan it carries goes along as provenance.
    Beside a model of ``transformers`` go ``config.json``, its generation settings and the
    tokenizer, for ``load_pretrained``. The weights are in ``model.safetensors``; those of such a
    model with factored or narrowed layers in ``eckart.safetensors``: ``from_pretrained`` of
    ``transformers``, which would fill the layers it misses with random numbers, finds no file.

    Args:
        model: any network, with or without factored layers. Adapters must be merged into it.
        directory: made if need be; files of an earlier save are replaced.
        tokenizer: of ``transformers``; None copies the one of the local folder the model is from.

    Raises:
        InputError: the model holds adapters of ``peft``.
    """
    check_merged(model)
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    plan, forms = plan_of(model), _forms_of(model)
    changed = plan is not None or not all(form.is_plain for form in forms.values())
    weights = CHANGED_WEIGHTS if changed and is_pretrained(model) else WEIGHTS
    structure = {
        "format": FORMAT,
        "version": version("eckart"),
        "weights": weights,
        "forms": {name: form.as_json() for name, form in forms.items()},
        "norms": {n: w for n, m in model.named_modules() if (w := norm_width(m)) is not None},
        "plan": plan and plan.as_json(),
    }
    with tempfile.TemporaryDirectory(dir=target) as folder:
        scratch = Path(folder)
        save_model(model, str(scratch / weights), metadata={"format": "pt"})
        describe(model, scratch, tokenizer)
        (scratch / STRUCTURE).write_text(json.dumps(structure, indent=1))
        for path in sorted(path for path in scratch.rglob("*") if path.is_file()):
            place = target / path.relative_to(scratch)
            place.parent.mkdir(exist_ok=True)
            shutil.move(path, place)
    for name in {WEIGHTS, CHANGED_WEIGHTS} - {weights}:
        (target / name).unlink(missing_ok=True)


def load(fresh_model: nn.Module, directory: str | Path) -> nn.Module:
    """Rebuild a saved network's structure in a fresh model of the original class, and fill it.

    Everything is checked before anything is changed; on an error the model is as it was.

    Args:
        fresh_model: a dense model of the original class; changed in place.
        directory: written by ``save``.

    Returns:
        ``fresh_model``, whose outputs equal those of the saved network to the bit.

    Raises:
        CheckpointError: a file is missing, truncated, of another version, not to be trusted, or
            belongs to another network.
    """
    structure = structure_in(Path(directory))
    forms, norms = changed_forms(structure, fresh_model), narrower_norms(structure, fresh_model)
    if any(tensor.is_meta for tensor in fresh_model.state_dict().values()):
        raise CheckpointError("the fresh model is on the meta device: give it memory, to_empty()")
    layers = {name: fresh_model.get_submodule(name) for name in forms}
    path = weights_in(Path(directory), structure)
    check_weights(path, _expected(fresh_model, forms, norms), _tied(fresh_model))
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    check_orders(path, [f"{n}.{len(f.pieces) - 1}" for n, f in forms.items() if f.carries], tensors)
    for name, form in forms.items():
        fresh_model.set_submodule(name, blank(layers[name], form))
    for name, width in norms.items():
        fresh_model.set_submodule(name, blank_norm(fresh_model.get_submodule(name), width))
    fresh_model.load_state_dict(tensors, strict=False)  # every name was checked above
    return attach_plan(fresh_model, plan_in(structure))


def load_pretrained(
    directory: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> nn.Module:
    """The model of ``transformers`` that ``save`` wrote, factors and all, in eval mode.

    Tied weights are tied, and ``generate`` works as before. Nothing is initialised at random, and
    each weight is in memory once. Buffers that are not saved, such as rotary frequencies, are
    computed as ``from_pretrained`` does, in full precision whatever the dtype of the weights.

    Args:
        directory: written by ``save`` for a model whose class ``transformers`` has.
        dtype: of the weights; None leaves each as it was saved, and outputs equal to the bit.
        device: None is the CPU.

    Raises:
        InputError: ``transformers`` 5 is not installed.
        CheckpointError: as for ``load``; or plain ``transformers`` wrote the directory.
    """
    source = Path(directory)
    if (source / CONFIG).is_file() and not (source / STRUCTURE).exists():
        raise CheckpointError(
            f"{source} has a {CONFIG} and no {STRUCTURE}: eckart did not write it; read it with "
            "AutoModelForCausalLM.from_pretrained (or AutoModel) of transformers"
        )
    weights = weights_in(source, structure_in(source))
    model = load(blank_model(source, outlines_of(weights)), source)
    if dtype is not None:
        convert(model, dict.fromkeys(model.state_dict(), dtype))
    return model.to(device)


def merge(model: nn.Module, *, inplace: bool = False) -> nn.Module:
    """Multiply every factored layer out into a dense one; exact but for rounding.

    Args:
        model: a network with factored layers.
        inplace: change ``model`` itself instead of a copy.
    """
    dense = model if inplace else copy.deepcopy(model)
    for name, module in list(dense.named_modules()):
        if type(module) is Factored:
            dense.set_submodule(name, module.merge())
    return attach_plan(dense, None)


def _forms_of(model: nn.Module) -> dict[str, Form]:
    """The form of every layer of a known type, factored or plain, but for the factors' own."""
    forms, inside = dict[str, Form](), factors_in(model)
    for name, module in model.named_modules():
        if type(module) is Factored:
            forms[name] = module.form
        elif name and name not in inside and type_of(module) is not None and not _is_lazy(module):
            forms[name] = Form((piece_of(module),))
    return forms


def _is_lazy(module: nn.Module) -> bool:
    return any(p is not None and is_lazy(p) for p in module._parameters.values())


def _expected(
    model: nn.Module, forms: Mapping[str, Form], norms: Mapping[str, int]
) -> dict[str, Outline]:
    """Shape and dtype of every tensor the saved network must have."""
    outlines: dict[str, Outline] = {
        name: (tuple(tensor.shape), tensor.dtype) for name, tensor in model.state_dict().items()
    }
    for layer, form in forms.items():
        dtype = outlines.pop(f"{layer}.weight")[1]
        outlines.pop(f"{layer}.bias", None)
        for index, piece in enumerate(form.pieces):
            place = layer if form.is_plain else f"{layer}.{index}"
            if piece.carries:
                outlines[f"{place}.rest.weight"] = (piece.rest.weight_shape, dtype)
                outlines[f"{place}.order"] = ((piece.outputs,), torch.int64)
            else:
                outlines[f"{place}.weight"] = (piece.weight_shape, dtype)
            if piece.bias:
                outlines[f"{place}.bias"] = ((piece.outputs,), dtype)
    for norm, width in norms.items():
        dense = norm_width(model.get_submodule(norm))
        for name, (shape, dtype) in list(outlines.items()):
            if name.rpartition(".")[0] == norm and shape == (dense,):
                outlines[name] = ((width,), dtype)
    return outlines


def _tied(model: nn.Module) -> dict[str, str]:
    """For every tensor that shares its memory, the first name of that memory."""
    first: dict[int, str] = {}
    return {
        n: first.setdefault(t.data_ptr(), n) for n, t in model.state_dict().items() if t.numel()
    }

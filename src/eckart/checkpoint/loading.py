"""Load a network from a folder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eckart.checkpoint.folder import STRUCTURE
from eckart.checkpoint.merging import dequantized
from eckart.checkpoint.names import Named, inside, named
from eckart.checkpoint.opening import twins_for
from eckart.checkpoint.structure import changed_forms, narrower_norms, opened_network, plan_in
from eckart.checkpoint.transformers import CONFIG, blank_model, convert
from eckart.checkpoint.weights import check_orders, check_weights, outlines_with, tied_names
from eckart.errors import CheckpointError
from eckart.layers import FewBits, blank, blank_norm
from eckart.network.plan_attribute import attach_plan
from eckart.network.twins import put, with_twins
from eckart.network.units import counts_after
from eckart.records import Form
from eckart.storage.compact import Weights


def load(fresh_model: nn.Module, directory: str | Path, *, dequantize: bool = False) -> nn.Module:
    """Rebuild a saved network's structure in a fresh model of the original class, and fill it.

    Every digest, name, shape and dtype is checked before anything changes. If a check fails, the
    model stays as it was.

    Args:
        fresh_model: a dense model of the original class; changed in place.
        directory: written by ``save``.
        dequantize: make the weights that are kept in codes once, instead of in every call. Outputs
            are the same to the bit; layers take the memory of their dtype again and run as fast as
            before they were rounded. Factors stay factors. The network has no plan then.

    Returns:
        ``fresh_model`` in eval mode. Its outputs equal those of the saved network to the bit.

    Raises:
        InputError: the fresh model has tensors that are not initialised.
        CheckpointError: a file is missing, damaged, of another version, cannot be trusted, or
            belongs to another network.

    Cost: the weights are read twice, the second time from the system's cache. They are hashed once,
        at 1.2 GB/s on one core.
    """
    with opened_network(Path(directory)) as (structure, weights):
        model = _filled(fresh_model, structure, weights)
    return dequantized(model) if dequantize else model


def load_pretrained(
    directory: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    dequantize: bool = False,
) -> nn.Module:
    """The model of ``transformers`` that ``save`` wrote, with its factors, in eval mode.

    The model is made from the description in ``eckart.json``; ``config.json`` is not read. Tied
    weights are tied, and ``generate`` works as before. Nothing is initialised at random, and each
    weight is in memory once. Buffers that are not saved, such as rotary frequencies, are computed
    as ``from_pretrained`` computes them: in full precision, whatever the dtype of the weights.

    Args:
        directory: written by ``save`` for a model whose class is part of ``transformers``.
        dtype: of the weights. None keeps each as it was saved; outputs are then equal to the bit.
        device: where the model goes; None is the CPU.
        dequantize: as for ``load``.

    Raises:
        InputError: ``transformers`` 5 is not installed.
        CheckpointError: as for ``load``; or plain ``transformers`` wrote the directory.
    """
    source = Path(directory)
    if (source / CONFIG).is_file() and not (source / STRUCTURE).exists():
        raise CheckpointError(
            f"{source} has a {CONFIG} but no {STRUCTURE}: eckart did not write it; load it with "
            "AutoModelForCausalLM.from_pretrained (or AutoModel) of transformers"
        )
    with opened_network(source) as (structure, weights):
        blank_one = blank_model(source, structure, weights.outlines)
        model = _filled(blank_one, structure, weights)
    if dequantize:
        model = dequantized(model)
    if dtype is not None:
        _convert(model, dtype)
    return model.to(device)


def _convert(model: nn.Module, dtype: torch.dtype) -> None:
    """Convert what is saved in floating point; layers in codes know what of theirs is converted."""
    coded = {name: m for name, m in model.named_modules() if type(m) is FewBits}
    own = {f"{name}.{key}" for name, layer in coded.items() for key in layer.state_dict()}
    convert(model, dict.fromkeys(model.state_dict().keys() - own, dtype))
    for layer in coded.values():
        layer.to(dtype)


def _filled(model: nn.Module, structure: Mapping[str, Any], weights: Weights) -> nn.Module:
    """Check everything in a folder, then put its network into a fresh model."""
    twins = twins_for(model, structure)
    parts = named(with_twins(model, twins) if twins else model)
    forms, norms = changed_forms(structure, parts), narrower_norms(structure, parts)
    if any(tensor.is_meta for tensor in parts.state.values()):
        raise CheckpointError(
            "the fresh model is on the meta device: give it memory first, with to_empty()"
        )
    path = weights.path
    found, tied = weights.outlines, tied_names(parts.state)
    expected = outlines_with(parts, forms, norms, found)
    expected = {name: o for name, o in expected.items() if tied.get(name, name) in expected}
    check_weights(path, found, expected, tied)
    weights.check()
    tensors = weights.mapped()
    check_orders(path, [f"{n}.{len(f.pieces) - 1}" for n, f in forms.items() if f.carries], tensors)
    put(model, twins)
    _rebuild(model, parts, forms, norms)
    _fill(model, tensors, path)
    attach_plan(inside(model), plan_in(structure))
    return model.eval()


def _rebuild(
    model: nn.Module, parts: Named, forms: Mapping[str, Form], norms: Mapping[str, int]
) -> None:
    """Replace the layers that changed by blank ones; modules count the heads that are left."""
    for name, form in forms.items():
        place, inputs = parts.places[name], form.pieces[0].inputs
        holder = model.get_submodule(place.rpartition(".")[0])
        vars(holder).update(counts_after(model, place, inputs))
        model.set_submodule(place, blank(parts.modules[name], form))
    for name, width in norms.items():
        model.set_submodule(parts.places[name], blank_norm(parts.modules[name], width))


def _fill(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Fill every tensor of a network; names, shapes and dtypes were checked before."""
    _make_writable(model)
    keys, versions = named(model).keys, getattr(model.state_dict(), "_metadata", None)
    state = OrderedDict((keys[name], tensor) for name, tensor in tensors.items())
    if versions is not None:
        setattr(state, "_metadata", versions)  # noqa: B010 - some classes need it to load
    try:
        model.load_state_dict(state, strict=False)
    except Exception as error:  # the network's own methods may raise anything
        raise CheckpointError(
            f"{path} fits this model, but its own loading fails ({type(error).__name__}: "
            f"{error!s:.200}); make a fresh model before you try again"
        ) from error


def _make_writable(model: nn.Module) -> None:
    """Copy buffers and parameters that cannot be written to, such as expanded ones."""
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and _is_read_only(buffer):
                module._buffers[name] = buffer.clone()
        for name, parameter in module._parameters.items():
            if parameter is not None and _is_read_only(parameter):
                copy = nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
                module._parameters[name] = copy


def _is_read_only(tensor: Tensor) -> bool:
    if tensor.is_inference():
        return True
    strides = zip(tensor.shape, tensor.stride(), strict=True)
    return any(stride == 0 and size > 1 for size, stride in strides)

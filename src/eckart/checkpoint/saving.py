"""Save a network to a folder."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from eckart.checkpoint.card import remove_stale_card, write_card
from eckart.checkpoint.folder import replace_network, replaceable
from eckart.checkpoint.names import Named, inside, named
from eckart.checkpoint.plain import write_plain
from eckart.checkpoint.structure import FORMAT
from eckart.checkpoint.transformers import describe
from eckart.checkpoint.weights import outlines_of_form, tied_names
from eckart.errors import InputError
from eckart.layers import Factored, norm_width, piece_of, type_of
from eckart.network.plan_attribute import plan_of
from eckart.network.third_party import check_merged, is_pretrained
from eckart.records import Form
from eckart.running.arguments import check_kind
from eckart.storage.header import check_storable

PLAIN = "compressed-tensors"
FORMATS = ("eckart", PLAIN)


def save(
    model: nn.Module,
    directory: str | Path,
    tokenizer: Any = None,
    *,
    format: str = "eckart",  # noqa: A002 - as in ``export``
) -> None:
    """Write weights and ``eckart.json`` for ``load``; or a folder that needs no eckart.

    If the process is killed or the disk is full at any moment, the folder still loads: as the
    network that was there before, or as this one. The structure is read from the network itself.
    Its plan, if it has one, is saved with it as provenance, and a model card says what it did; a
    ``README.md`` of your own stays. For a model of ``transformers``,
    ``config.json``, its generation settings and the tokenizer are saved as well. If all layers of
    such a model are plain, ``model.safetensors.index.json`` leads ``from_pretrained`` to the
    weights. With factored or narrowed layers there is no such file, because ``from_pretrained``
    would fill every layer whose weights are missing with random numbers.

    Args:
        model: any network, with or without factored layers. ``DataParallel`` and ``torch.compile``
            around it or in it are left out. Adapters must be merged into it first.
        directory: made if it does not exist. A network in it is replaced, even one that
            ``transformers`` wrote to ``model.safetensors``.
        tokenizer: of ``transformers``; None copies the one in the local folder that the model came
            from.
        format: ``"eckart"``; or ``"compressed-tensors"`` for a model of ``transformers`` without
            factors, which its ``from_pretrained`` and serving engines then read by themselves.
            Linear layers in codes have 4 or 8 bits there, and other codes become numbers again.

    Raises:
        InputError: an unknown format, or a network that it cannot hold; or the network holds
            adapters of ``peft``, or tensors that no file can hold. This is raised before anything
            is written.
        WriteError: the disk is full or read-only, or the folder holds pickled weights, which
            ``transformers`` would read instead.

    Cost: hashing the weights at 1.2 GB/s on one core, and writing them.
    """
    check_kind("model", model, nn.Module)
    check_merged(model)
    if format not in FORMATS:
        raise InputError(f"unknown format {format!r:.80}; known: {', '.join(FORMATS)}")
    if format == PLAIN:
        write_plain(model, directory, tokenizer)
        return
    inner, parts = inside(model), named(model)
    weights = _storable(parts.state)
    plan, forms = plan_of(model) or plan_of(inner), _forms_of(parts)
    _check_loads_again(parts, forms)
    changed = plan is not None or not all(form.is_plain for form in forms.values())
    structure = {
        "format": FORMAT,
        "version": version("eckart"),
        "forms": {name: form.as_json() for name, form in forms.items()},
        "norms": {n: w for n, m in parts.modules.items() if (w := norm_width(m)) is not None},
        "plan": plan and plan.as_json(),
    }
    with replaceable(directory, is_pretrained(inner)) as prepared:
        structure |= describe(inner, prepared, tokenizer)
        folder = Path(directory)
        write_card(prepared, folder, plan, type(inner).__name__, is_pretrained(inner))
        with_index = is_pretrained(inner) and not changed
        coded = any(form.bits for form in forms.values())
        replace_network(folder, structure, weights, prepared, with_index, coded)
        remove_stale_card(folder, plan)


def _storable(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state, each once, after a check that a file can hold them."""
    for name, tensor in state.items():
        check_storable(name, tensor)
    tied = tied_names(state)
    return {name: tensor for name, tensor in state.items() if tied[name] == name}


def _forms_of(parts: Named) -> dict[str, Form]:
    """The form of every factored layer, and of every plain layer of a known type outside these."""
    forms = dict[str, Form]()
    inside_factors = {
        f"{name}.{inner}"
        for name, module in parts.modules.items()
        if type(module) is Factored
        for inner, _ in module.named_modules()
    }
    for name, module in parts.modules.items():
        if type(module) is Factored:
            forms[name] = module.form
        elif name and name not in inside_factors and type_of(module) is not None:
            forms[name] = Form((piece_of(module),))
    return forms


def _check_loads_again(parts: Named, forms: Mapping[str, Form]) -> None:
    """Raise ``InputError`` if a factored layer does not hold the tensors that ``load`` expects."""
    for layer, form in forms.items():
        if form.is_plain:
            continue
        found = {
            name: (tuple(tensor.shape), tensor.dtype)
            for name, tensor in parts.state.items()
            if name.startswith(f"{layer}.")
        }
        inner = parts.modules[layer]
        if found != outlines_of_form(layer, form, inner.weight.dtype, found):  # type: ignore[arg-type]
            raise InputError(
                f"the factored layer {layer!r:.80} holds {sorted(found)!r:.200}, which load could "
                "not restore: remove what was added to it (a parametrization, pruning or other "
                "hooks), or call eckart.merge on the network first"
            )

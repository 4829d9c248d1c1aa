"""A network made ready to be traced: a copy with nothing in it that only training needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eckart.exporting.codes import Codes, after_norms, take_codes
from eckart.exporting.folding import fold_norms
from eckart.layers import Factored, merged_piece
from eckart.network.identity import check_numbers
from eckart.network.replacing import copied
from eckart.network.wrappers import network_in
from eckart.running.batches import arguments_for, examples_in, moved, repeated

_FEWEST = 2  # examples, because a batch of one is taken for a constant


@dataclass(frozen=True)
class Ready:
    """A network with the arguments that it is traced with.

    Attributes:
        model: in eval mode, frozen.
        args, kwargs: what it is called with.
        dynamic_shapes: as ``torch.export`` takes them; None where all sizes are fixed.
        codes: of the layers whose weights were in codes, by name. ``model`` has the weights.
    """

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    dynamic_shapes: Any
    codes: Mapping[str, Codes]


def ready(model: nn.Module, inputs: Any, *, dynamic_batch: bool = True) -> Ready:
    """A copy in eval mode with norms folded and useless factors multiplied out.

    Args:
        model: any network; it is not changed.
        inputs: what it is called with, without targets.
        dynamic_batch: whether the number of examples is to stay free.
    """
    model = network_in(model)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        check_numbers(name, tensor)
    model = copied(model).eval().requires_grad_(False)
    _without_caches(model)
    inputs = moved(inputs, model)
    count = examples_in(inputs)
    if dynamic_batch and count < _FEWEST:
        inputs, count = repeated(inputs, _FEWEST), count * _FEWEST
    codes = take_codes(model)
    _merge_where_nothing_is_saved(model, codes)
    codes = after_norms(model, codes, fold_norms(model, inputs))
    args, kwargs = arguments_for(model, inputs)
    shapes = _free(kwargs or args, count, torch.export.Dim("batch")) if dynamic_batch else None
    return Ready(model, args, kwargs, shapes, codes)


def _without_caches(model: nn.Module) -> None:
    """Let decoders return no keys and values to go on from, which torch cannot trace."""
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        if getattr(config, "use_cache", None) is True:
            config.use_cache = False


def _merge_where_nothing_is_saved(model: nn.Module, codes: Iterable[str]) -> None:
    """Multiply out chains without codes that have the weights of what they multiply to, or more."""
    coded = {name.rpartition(".")[0] for name in codes}
    found = [(n, m) for n, m in model.named_modules() if type(m) is Factored]
    chains = [(name, chain) for name, chain in found if name not in coded]
    for name, chain in chains:
        form = chain.form
        if merged_piece(form).weights <= sum(piece.weights for piece in form.pieces):
            model.set_submodule(name, chain.merge())


def _free(value: Any, count: int, batch: Any) -> Any:
    """For each tensor with one row per example that its first axis is free; None for the rest."""
    if isinstance(value, Tensor):
        return {0: batch} if value.dim() and len(value) == count else None
    if isinstance(value, Mapping):
        return {key: _free(item, count, batch) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_free(item, count, batch) for item in value)
    return None

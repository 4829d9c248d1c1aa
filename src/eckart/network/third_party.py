"""Recognise and copy networks of other libraries without importing those libraries."""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from eckart.errors import InputError
from eckart.network.replacing import copied


def is_pretrained(model: nn.Module) -> bool:
    """Whether it is a model of ``transformers``."""
    loaded = sys.modules.get("transformers")
    return loaded is not None and isinstance(model, loaded.PreTrainedModel)


def copied_in(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy in a floating dtype; complex numbers stay complex.

    It does not call the model's own ``float()`` or ``double()``. In ``transformers`` those refuse a
    model that was read from a quantised file, although its weights are plain by then.
    """
    made = copied(model)
    nn.Module._apply(made, lambda tensor: in_dtype(tensor, dtype))
    return made


def in_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor in a floating dtype, or in the complex one of that precision; others as they are."""
    if tensor.is_complex():
        return tensor.to(dtype.to_complex())
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


_QUANTISED = (
    "torch.ao.nn.quantized.",
    "torch.ao.nn.intrinsic.quantized.",
    "torchao.",
    "bitsandbytes.",
    "optimum.quanto.",
    "quanto.",
    "auto_gptq.",
    "gptqmodel.",
    "awq.",
    "hqq.",
)
"""Modules, and those below them, whose layers and tensors hold quantised weights."""


def check_not_quantised(model: nn.Module) -> None:
    """Raise ``InputError`` where weights are quantised, before any data are read."""
    for name, module in model.named_modules():
        quantised, matrices = quantised_class(module), _matrices(module)
        integers = [p.dtype for p in matrices if not p.is_floating_point() and not p.is_complex()]
        if quantised or integers:
            what = quantised.__name__ if quantised else str(integers[0])
            raise InputError(
                f"{name or 'the model'} has quantised weights ({what}): compress the network with "
                "floating weights, as it was before, and quantise the result"
            )


def quantised_class(module: nn.Module) -> type | None:
    """The class by which a module holds quantised weights, its own or a tensor's; None if none."""
    kinds = [type(module), *(type(p.data) for p in _matrices(module))]
    return next((kind for kind in kinds if f"{kind.__module__}.".startswith(_QUANTISED)), None)


def _matrices(module: nn.Module) -> list[nn.Parameter]:
    own = [p for p in module._parameters.values() if p is not None and not is_lazy(p)]
    return [p for p in own if p.dim() > 1]


def check_merged(model: nn.Module) -> None:
    """Raise ``InputError`` where adapters of ``peft`` are not merged into the weights."""
    for name, module in model.named_modules():
        if type(module).__module__.partition(".")[0] == "peft":
            raise InputError(
                f"{name or 'the model'} is a {type(module).__name__} of peft: merge the adapters "
                "into the weights first, model = model.merge_and_unload()"
            )

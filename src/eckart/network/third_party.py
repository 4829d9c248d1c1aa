"""Recognise and copy networks of other libraries without importing those libraries."""

from __future__ import annotations

import copy
import sys

import torch
from torch import nn

from eckart.errors import InputError


def is_pretrained(model: nn.Module) -> bool:
    """Whether it is a model of ``transformers``."""
    loaded = sys.modules.get("transformers")
    return loaded is not None and isinstance(model, loaded.PreTrainedModel)


def copied_in(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy in a floating dtype.

    It does not call the model's own ``float()`` or ``double()``. In ``transformers`` those refuse a
    model that was read from a quantised file, although its weights are plain by then.
    """
    return nn.Module.to(copy.deepcopy(model), dtype)


def check_merged(model: nn.Module) -> None:
    """Raise ``InputError`` where adapters of ``peft`` are not merged into the weights."""
    for name, module in model.named_modules():
        if type(module).__module__.partition(".")[0] == "peft":
            raise InputError(
                f"{name or 'the model'} is a {type(module).__name__} of peft: merge the adapters "
                "into the weights first, model = model.merge_and_unload()"
            )

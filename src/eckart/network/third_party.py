"""Recognise and copy networks of other libraries without importing those libraries."""

from __future__ import annotations

import copy
import sys

import torch
from torch import nn


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

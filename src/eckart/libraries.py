"""What other libraries made, known without importing them."""

from __future__ import annotations

import sys

from torch import nn


def is_pretrained(model: nn.Module) -> bool:
    """Whether it is a model of ``transformers``."""
    loaded = sys.modules.get("transformers")
    return loaded is not None and isinstance(model, loaded.PreTrainedModel)

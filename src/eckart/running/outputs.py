"""What a network gives for a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from eckart.running.batches import call
from eckart.running.hooks import untouched


@torch.no_grad()
def outputs_of(model: nn.Module, inputs: Any) -> Any:
    """A network's outputs in eval mode; nothing of it is changed."""
    with untouched(model):
        return call(model, inputs)

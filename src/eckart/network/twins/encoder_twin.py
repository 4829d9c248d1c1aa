"""Torch's encoder: its fused path reads the layers of all its blocks, so they open together."""

from __future__ import annotations

from typing import final

from torch import nn

from eckart.network.twins.attention_twin import AttentionTwin
from eckart.network.twins.placing import with_twins


@final
class EncoderTwin:
    """``nn.TransformerEncoder`` and its blocks, of the same class with opened attention.

    Their fused path needs packed attention, and hands nested tensors from one block to the next.
    Without either, every layer is called.
    """

    name = "encoder"
    _attention = AttentionTwin()

    def applies(self, module: nn.Module) -> bool:
        """Also a subclass, with attention of torch in it."""
        ours = isinstance(module, nn.TransformerEncoder | nn.TransformerEncoderLayer)
        return ours and any(isinstance(part, nn.MultiheadAttention) for part in module.modules())

    def open(self, module: nn.Module) -> nn.Module:
        """A copy that shares its tensors, except for packed weights, of which it has views."""
        twins = {
            name: self._attention.open(part)
            for name, part in module.named_modules()
            if self._attention.applies(part)
        }
        built = with_twins(module, twins)
        if isinstance(built, nn.TransformerEncoder):
            built.use_nested_tensor = False
        return built

    def close(self, module: nn.Module) -> nn.Module | None:
        """Nothing: its attention is closed, and it is of its class."""
        return None

    def note(self, module: nn.Module) -> str | None:
        """Nothing: the weights are those of the module."""
        return None

"""Layers in codes made into plain layers, once."""

from __future__ import annotations

import torch
from torch import nn

from eckart.layers.embedding import keep_settings
from eckart.layers.factored import Factored, fill, keep_bias_trainable
from eckart.layers.few_bits import FewBits
from eckart.layers.registry import known_type_of


def decoded(chain: Factored) -> nn.Module:
    """The same chain with a plain layer for every piece in codes; a chain of one is that layer.

    Its outputs are equal to the bit, because the same weight is made once instead of in every call.
    """
    if len(chain) == 1:
        return chain.merge()
    for place, part in enumerate(chain):
        if isinstance(part, FewBits):
            chain[place] = _plain(part)
    return chain


@torch.no_grad()
def _plain(part: FewBits) -> nn.Module:
    """The layer that a piece in codes stands for."""
    piece = part.piece.plain
    layer = known_type_of(part.layer).plain(piece, part.like)
    keep_settings(layer, part)
    fill(layer, part.weight, part.bias)
    layer.requires_grad_(part.trainable)
    keep_bias_trainable(layer, part)
    return layer.train(part.training)

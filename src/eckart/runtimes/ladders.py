"""Copies of one layer side by side, which are what is timed to learn the time of the layer."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from eckart.layers import LAYER_TYPES
from eckart.records import Piece
from eckart.records.pieces import Size


@dataclass(frozen=True)
class Ladder:
    """Copies of one piece that all read the same input.

    The time of a piece is the difference between two ladders, divided by the difference of their
    copies. What both do once, such as the call itself, cancels.

    Attributes:
        piece: the layer.
        size: positions of one example in its input.
        batch: examples.
        copies: how often the piece is applied.
        dtype: of weights and inputs.
        device: of weights and inputs.
    """

    piece: Piece
    size: Size
    batch: int
    copies: int
    dtype: torch.dtype
    device: torch.device

    @property
    def shape(self) -> Size:
        """Shape of the input."""
        if not self.piece.kernel:
            return (self.batch, *(n for n in self.size if n > 1), self.piece.inputs)
        return (self.batch, self.piece.inputs, *self.size)


class LadderModule(nn.Module):
    """A ladder as a module: every copy runs, and the last output is returned."""

    def __init__(self, ladder: Ladder) -> None:
        super().__init__()
        layers = [_layer(ladder) for _ in range(ladder.copies)]
        self.layers = nn.ModuleList(layers).requires_grad_(False).eval()

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            out: Tensor = layer(x)
        return out


def _layer(ladder: Ladder) -> nn.Module:
    """One layer of a piece's shapes, with small random weights."""
    piece = ladder.piece
    axes = len(piece.kernel)
    kind = f"conv_transpose{axes}d" if piece.transposed else f"conv{axes}d" if axes else "linear"
    layer = LAYER_TYPES[kind].plain(piece, torch.empty(0, dtype=ladder.dtype, device=ladder.device))
    deviation = max(prod(piece.matrix_shape[2:]), 1) ** -0.5
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=deviation)
    return layer

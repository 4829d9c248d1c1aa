"""``nn.Linear``: every vector along the last axis is a row."""

from __future__ import annotations

from collections.abc import Hashable
from math import prod
from typing import cast, final

from jaxtyping import Float
from torch import Tensor, nn

from eckart.layers.registry import InputSums
from eckart.records import Piece
from eckart.records.pieces import Size


@final
class LinearType:
    """``y = x Wᵀ + b`` with any leading shape."""

    name = "linear"
    module: type[nn.Module] = nn.Linear

    def refusal(self, module: nn.Module) -> str | None:
        """Nothing is refused."""
        return None

    def piece(self, module: nn.Module) -> Piece:
        """Inputs, outputs, bias."""
        layer = cast(nn.Linear, module)
        return Piece(layer.in_features, layer.out_features, bias=layer.bias is not None)

    def plain(self, piece: Piece, like: Tensor) -> nn.Module:
        """``nn.Linear``."""
        layer = nn.Linear(piece.inputs, piece.outputs, piece.bias, "meta", like.dtype)
        return layer.to_empty(device=like.device)

    def size(self, module: nn.Module, x: Tensor) -> Size:
        """All rows, because the input holds one example."""
        return (prod(x.shape[:-1]),)

    def geometry(self, module: nn.Module) -> Hashable:
        """All linear layers see the same rows of one tensor."""
        return self.name

    def input_sums(self, module: nn.Module, x: Tensor) -> InputSums:
        """Cost: O(rows · in²)."""
        rows = x.reshape(-1, x.shape[-1]).float()
        return InputSums((rows.T @ rows)[None], rows.sum(0)[None], len(rows))

    def output_gram(self, module: nn.Module, grad: Tensor) -> Float[Tensor, "groups out out"]:
        """Cost: O(rows · out²)."""
        rows = grad.reshape(-1, grad.shape[-1]).float()
        return (rows.T @ rows)[None]

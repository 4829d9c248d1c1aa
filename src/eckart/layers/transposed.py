"""``Conv1D`` of ``transformers``, as in GPT-2: a linear layer that keeps its weight transposed."""

from __future__ import annotations

import sys
from collections.abc import Hashable
from typing import Any, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eckart.layers.linear import LinearType
from eckart.layers.registry import InputSums
from eckart.records import Piece
from eckart.records.pieces import Size


class _Unknown(nn.Module):
    """Stands for the class while ``transformers`` is not imported; no module is an instance."""


@final
class TransposedType:
    """``y = x W + b`` with W of shape (in, out); except for the layout it is an ``nn.Linear``."""

    name = "transposed"
    _linear = LinearType()

    @property
    def module(self) -> type[nn.Module]:
        """The class, if ``transformers.pytorch_utils`` has been imported."""
        home = sys.modules.get("transformers.pytorch_utils")
        return cast(type[nn.Module], getattr(home, "Conv1D", _Unknown))

    def refusal(self, module: nn.Module) -> str | None:
        """Nothing is refused."""
        return None

    def piece(self, module: nn.Module) -> Piece:
        """Inputs, outputs, bias."""
        inputs, outputs = cast(Tensor, module.weight).shape
        return Piece(inputs, outputs, bias=True)

    def plain(self, piece: Piece, like: Tensor) -> nn.Module:
        """``nn.Linear``."""
        return self._linear.plain(piece, like)

    def oriented(self, weight: Tensor) -> Tensor:
        """Transposed."""
        with torch.enable_grad():  # the view requires a gradient where the weight does
            return weight.mT

    def whole(self, piece: Piece, like: Tensor) -> nn.Module:
        """``Conv1D``."""
        make = cast(Any, self.module)
        with torch.device("meta"):
            layer: nn.Module = make(piece.outputs, piece.inputs)
        return layer.to(like.dtype).to_empty(device=like.device)

    def size(self, module: nn.Module, x: Tensor) -> Size:
        """All rows, because the input holds one example."""
        return self._linear.size(module, x)

    def geometry(self, module: nn.Module) -> Hashable:
        """Linear layers see the same rows of one tensor."""
        return self._linear.geometry(module)

    def input_sums(self, module: nn.Module, x: Tensor) -> InputSums:
        """Cost: O(rows · in²)."""
        return self._linear.input_sums(module, x)

    def output_gram(self, module: nn.Module, grad: Tensor) -> Float[Tensor, "groups out out"]:
        """Cost: O(rows · out²)."""
        return self._linear.output_gram(module, grad)

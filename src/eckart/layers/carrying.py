"""The last layer of a pivoted chain: it passes its inputs on, beside combinations of them."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from eckart.records import Piece


@final
class Carrying(nn.Module):
    """``y = cat(x, rest(x))[order] + bias`` over the channels: a matrix with rows of the identity.

    Any factor of a chain can be brought to this form, which stores rank² fewer weights.

    Attributes:
        rest: a plain layer without a bias, which gives the output channels that are not inputs.
        order: a permutation: where in ``cat(x, rest(x))`` each output channel is.
        bias: one number per output channel, or None.

    Source: Zhao et al. 2025 (2501.19090); interpolative decomposition, Cheng et al. 2005.
    """

    __jit_unused_properties__ = ("weight",)  # for people, and not compiled by torch.jit.script

    def __init__(self, rest: nn.Module, piece: Piece, like: Tensor) -> None:
        """Wrap an uninitialised ``rest``; ``take`` or ``fill`` puts the numbers in later."""
        super().__init__()
        self.rest = rest
        self.piece = piece
        self.axis = -1 - len(piece.kernel)
        self.order: Tensor
        self.register_buffer("order", torch.arange(piece.outputs, device=like.device))
        bias = like.new_zeros(piece.outputs) if piece.bias else None
        self.bias = None if bias is None else nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Channels are the last axis of a matrix; with a kernel they precede the spatial axes."""
        y = torch.cat([x, self.rest(x)], self.axis).index_select(self.axis, self.order)
        return y if self.bias is None else y + self.bias.reshape([-1] + [1] * (-1 - self.axis))

    @property
    def weight(self) -> Float[Tensor, "out rank *kernel"]:
        """The whole weight; gradients pass to the weight of ``rest``."""
        rest: Tensor = self.rest.weight  # type: ignore[assignment]
        eye = torch.eye(self.piece.inputs, dtype=rest.dtype, device=rest.device)
        return torch.cat([eye.reshape(-1, *rest.shape[1:]), rest])[self.order]

    @torch.no_grad()
    def take(self, weight: Float[Tensor, "out rank"]) -> bool:
        """Store a whole weight, if its rows contain every row of the identity.

        Returns:
            Whether they do; if not, nothing is stored.

        Cost: O(out · rank).
        """
        inputs = self.piece.inputs
        value, at = weight.max(1)
        found = ((value == 1) & (weight.count_nonzero(1) == 1)).nonzero().flatten()
        found = found[at[found].argsort(stable=True)]
        distinct = at[found].diff(prepend=at.new_tensor([-1])) != 0
        carried = found[distinct]
        if len(carried) < inputs:
            return False
        rest = torch.ones(len(weight), dtype=torch.bool, device=weight.device)
        rest[carried] = False
        order = at.clone()
        order[rest] = torch.arange(inputs, len(weight), device=weight.device)
        self.fill(weight[rest], order)
        return True

    @torch.no_grad()
    def fill(self, rest: Float[Tensor, "others rank"], order: Int64[Tensor, " out"]) -> None:
        """Copy in the weight of ``rest`` and the order."""
        weight: Tensor = self.rest.weight  # type: ignore[assignment]
        weight.copy_(rest.reshape(weight.shape))
        self.order.copy_(order)

    def extra_repr(self) -> str:
        """The widths at its input and output."""
        return f"{self.piece.inputs} → {self.piece.outputs}"

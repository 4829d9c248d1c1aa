"""A plain layer whose weight is kept as codes of few bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.func import functional_call

from eckart.layers.registry import weight_from
from eckart.linalg.rounding import Grid, Rounded, pack, unpacked
from eckart.records import Piece


@final
class FewBits(nn.Module):
    """``y = layer(x)`` with the weight ``scale · (code − zero)``, which is made for every call.

    Attributes:
        codes: packed, see ``eckart.linalg.rounding.pack``.
        scale: shape (groups, rows, spans), float16 or bfloat16, whatever the network's dtype is.
        bias: one number per output channel, or None.
        like: empty; it has the dtype in which the layer computes.
        trainable: whether the weight is to be trained where it is made once.
    """

    def __init__(self, layer: nn.Module, piece: Piece, like: Tensor) -> None:
        """Stand for an uninitialised ``layer``; ``take`` puts the numbers in later.

        Args:
            layer: a plain layer of these shapes, on ``meta``.
            piece: with the bits of its codes.
            like: gives dtype and device, and says whether the weight is to be trained.
        """
        super().__init__()
        self.piece, self.trainable = piece, like.requires_grad
        self.layer: nn.Module
        self.__dict__["layer"] = layer  # no submodule, because its weight does not exist
        self.codes: Tensor
        self.scale: Tensor
        self.like: Tensor
        codes = torch.zeros(piece.code_bytes, dtype=torch.uint8, device=like.device)
        scale = torch.zeros(piece.scales, dtype=torch.float16, device=like.device)
        self.register_buffer("codes", codes)
        self.register_buffer("scale", scale)
        self.register_buffer("like", like.detach().new_empty(0), persistent=False)
        bias = like.new_zeros(piece.outputs) if piece.bias else None
        self.bias = None if bias is None else nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Make the weight, then do what the layer does; of a table, make the rows looked up."""
        if self.piece.table:
            return self._looked_up(x)
        numbers = {"weight": self.weight}
        if self.bias is not None:
            numbers["bias"] = self.bias
        found: Tensor = functional_call(self.layer, numbers, (x,))
        return found

    @property
    def weight(self) -> Tensor:
        """What the codes stand for, in the layer's dtype and torch's layout."""
        values = self.grid.values(self.whole_codes).to(self.like.dtype)
        return values[0] if self.piece.table else weight_from(values, self.piece)

    @property
    def whole_codes(self) -> UInt8[Tensor, "groups out in"]:
        """The codes, one per byte; of a table, shape (1, in, out)."""
        return unpacked(self.codes, self.piece.bits, self.piece.code_shape)

    def _looked_up(self, which: Tensor) -> Tensor:
        """Rows of a table; each begins at a whole byte."""
        piece, at = self.piece, which.flatten()
        stream = self.codes.view(piece.inputs, -1)[at].flatten()
        codes = unpacked(stream, piece.bits, (len(at), piece.outputs))
        grid = Grid(self.scale[0][at], None, piece.bits, piece.span or piece.outputs)
        rows: Tensor = grid.values(codes).to(self.like.dtype)
        return rows.reshape(*which.shape, piece.outputs)

    @torch.no_grad()
    def take(self, rounded: Rounded) -> None:
        """Store codes and scales."""
        codes, grid = rounded.codes.reshape(self.piece.code_shape), rounded.grid
        self.codes.copy_(pack(codes, self.piece.bits))
        self.scale = grid.scale.reshape(self.piece.scales).to(self.codes.device)

    @property
    def grid(self) -> Grid:
        """What the codes stand for."""
        span = self.piece.span or self.piece.code_shape[2]
        return Grid(self.scale, None, self.piece.bits, span)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FewBits:
        """As every module does, but scales keep their dtype, because files count on it."""
        scale = self.scale
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        moved = self.scale if scale.is_meta else scale
        self.scale = moved.to(self.scale.device, scale.dtype)
        return self

    def extra_repr(self) -> str:
        """The shape and the bits."""
        return f"{'×'.join(map(str, self.piece.weight_shape))}, {self.piece.bits} bits"

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *others: Any) -> None:
        """A file may hold scales of the other half precision."""
        found = state_dict.get(f"{prefix}scale")
        if isinstance(found, Tensor) and found.dtype in (torch.float16, torch.bfloat16):
            self.scale = self.scale.to(found.dtype)
        super()._load_from_state_dict(state_dict, prefix, *others)

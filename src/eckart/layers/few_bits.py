"""A plain layer whose weight is kept as codes of few bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import pad

from eckart.layers.activations import Activations
from eckart.layers.registry import matrix_of, weight_from
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
        trainable: whether scales are trained, or the weight where it is made once.
        stored: the dtype of the scales in a file, while they are trained in another.
        activations: what rounds its input and output; None where they are not rounded.
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
        self.stored = torch.float16
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
        self.activations = Activations(piece, like.device) if piece.activations else None

    def forward(self, x: Tensor) -> Tensor:
        """Make the weight, then do what the layer does; of a table, make the rows looked up."""
        if self.piece.table:
            return self._looked_up(x)
        numbers = {"weight": self.weight}
        if self.bias is not None:
            numbers["bias"] = self.bias
        rounded = self.activations
        x = x if rounded is None else rounded.before(x)
        found: Tensor = functional_call(self.layer, numbers, (x,))
        return found if rounded is None else rounded.after(found)

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
    def take(self, weight: Rounded | Tensor) -> None:
        """Store codes and scales; of a plain weight, only the scales that come nearest to it."""
        if isinstance(weight, Tensor):
            self._fit(weight)
            return
        codes, grid = weight.codes.reshape(self.piece.code_shape), weight.grid
        self.codes.copy_(pack(codes, self.piece.bits))
        self.scale = grid.scale.reshape(self.piece.scales).to(self.codes.device)

    def _fit(self, weight: Tensor) -> None:
        """Take the scales that come nearest to a weight of the layer's shape; the codes stay."""
        grid, codes = self.grid, self.whole_codes
        columns = self.piece.code_shape[2]
        whole = weight.unsqueeze(0) if self.piece.table else matrix_of(weight, self.piece)
        target = whole.double()
        numbers = (codes - grid.over(columns, grid.origin)).double()
        products, squares = (
            _by_span(values, grid.span) for values in (target * numbers, numbers.square())
        )
        found = torch.where(squares > 0, products / squares.clamp_min(1.0), grid.scale.double())
        self.scale = found.to(self.scale.dtype).reshape(self.piece.scales)

    @property
    def grid(self) -> Grid:
        """What the codes stand for. Scales in training are those that will be stored."""
        span, scale = self.piece.span or self.piece.code_shape[2], self.scale
        if isinstance(scale, nn.Parameter):
            stored = scale.detach().to(self.stored).to(scale.dtype)
            scale = scale + (stored - scale.detach())  # gradients pass as if it were not rounded
        return Grid(scale, None, self.piece.bits, span)

    def free_scales(self) -> None:
        """Make the scales a parameter in float32, or in the layer's dtype where that has more bits.

        What is computed stays the same; ``store_scales`` makes it the same in a file.
        """
        scale, self.stored = self.scale, self.scale.dtype
        del self.scale
        self.scale = nn.Parameter(scale.to(torch.promote_types(self.like.dtype, torch.float32)))

    def store_scales(self) -> None:
        """Round the scales that were free to what a file holds."""
        scale = self.scale.detach().to(self.stored)
        del self.scale
        self.register_buffer("scale", scale)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FewBits:
        """As every module does, but scales keep their dtype, because files count on it."""
        scale = self.scale
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if isinstance(scale, nn.Parameter):
            return self
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


def _by_span(values: Tensor, span: int) -> Tensor:
    """Sums over the columns that share a scale."""
    whole = pad(values, (0, -values.shape[-1] % span))
    return whole.reshape(*whole.shape[:-1], -1, span).sum(-1)

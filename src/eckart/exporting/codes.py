"""Weights in codes as whole numbers with scales, which is what kernels of other runtimes take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float32, Int8
from torch import Tensor, nn

from eckart.layers import Factored, FewBits, decoded
from eckart.records import Piece

_FOUR = (-8, 7)
_EIGHT = (-128, 127)


@dataclass(frozen=True, eq=False)
class Codes:
    """``scale · numbers`` is the weight of a layer, as one matrix whose groups lie one by one.

    Attributes:
        numbers: of 4 bits or 8.
        scales: one per row and span.
        bits: 4 or 8; fewer bits are 4.
        piece: the layer, without bits.
        span: columns that share a scale; a whole row has one span.
        turned: whether the layer keeps the matrix transposed, as GPT-2's do.
    """

    numbers: Int8[Tensor, "rows columns"]
    scales: Float32[Tensor, "rows spans"]
    bits: int
    piece: Piece
    span: int
    turned: bool = False

    def multiplied(self, factors: Float32[Tensor, " outputs"]) -> Codes:
        """The same with each output channel multiplied by a factor."""
        taps = self.piece.blocks[0]  # rows per output channel
        rows = factors.float().repeat_interleave(taps).unsqueeze(1)
        return replace(self, scales=self.scales * rows)


def take_codes(model: nn.Module) -> dict[str, Codes]:
    """Make plain layers of those in codes, in place; their codes are returned by layer.

    Codes that take more than 8 bits as whole numbers are left out.
    """
    found: dict[str, Codes] = {}
    chains = [(n, m) for n, m in model.named_modules() if type(m) is Factored and m.form.bits]
    for name, chain in chains:
        for place, part in enumerate(chain):
            codes = _codes_of(part, bool(chain.stands_for)) if type(part) is FewBits else None
            if codes is not None:
                found[name if len(chain) == 1 else f"{name}.{place}"] = codes
        model.set_submodule(name, decoded(chain))
    return found


def _codes_of(part: FewBits, turned: bool) -> Codes | None:
    """The codes of one layer as distances from the code of zero, which may lie between two."""
    grid = part.grid
    origin = grid.over(part.piece.code_shape[2], grid.origin)
    halves = 1 if bool((grid.origin == grid.origin.round()).all()) else 2
    numbers = (halves * (part.whole_codes - origin)).flatten(0, 1)
    least, most = float(numbers.min()), float(numbers.max())
    if least < _EIGHT[0] or most > _EIGHT[1]:
        return None
    scales = grid.scale.float().flatten(0, 1) / halves
    bits = 4 if least >= _FOUR[0] and most <= _FOUR[1] else 8
    piece = replace(part.piece, bits=0, span=0)
    return Codes(numbers.to(torch.int8), scales, bits, piece, grid.span, turned)


def after_norms(codes: Mapping[str, Codes], factors: Mapping[str, Tensor]) -> dict[str, Codes]:
    """Codes of layers into which norms were folded, with the factors of their rows."""
    return {
        name: each.multiplied(factors[name]) if name in factors else each
        for name, each in codes.items()
    }

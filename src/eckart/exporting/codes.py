"""Weights in codes as whole numbers with scales, which is what kernels of other runtimes take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median

import torch
from jaxtyping import Float32, Int8
from torch import Tensor, nn

from eckart.layers import Factored, FewBits, Levels, bias_of, decoded
from eckart.records import Piece

_FOUR = (-8, 7)
_EIGHT = (-128, 127)
_EQUAL = 1e-3  # relative; scales of channels that are one scale after a norm


@dataclass(frozen=True, eq=False)
class Rounding:
    """What the activations of a layer are rounded to.

    Attributes:
        input: what comes in.
        channels: of a convolution, factor and offset of each output channel, see
            ``eckart.layers.Activations``; None where outputs are not rounded.
        bias: what the layer added, before a norm was folded into it.
        output: what goes out of the layer with the norm; None if its channels do not have one
            scale.
    """

    input: Levels
    channels: Tensor | None
    bias: Tensor
    output: Levels | None = None

    def after_norm(self, factors: Tensor | float, bias: Tensor | None) -> Rounding:
        """The same with the output of the layer after its norm was folded into it.

        Args:
            factors: what each channel was multiplied by.
            bias: what the layer adds now.
        """
        if self.channels is None:
            return self
        factor, offset = self.channels.double()
        seen = factor != 0
        now = torch.zeros_like(self.bias) if bias is None else bias.detach()
        shift = now.double() - factors * self.bias.double()
        scales = (factors / factor)[seen]
        zeros = (offset - shift * factor / factors)[seen]
        if not seen.any() or float(scales.max() / scales.min() - 1) > _EQUAL:
            return self
        scale = median(scales.tolist())
        return replace(self, output=Levels(scale, round(median(zeros.tolist()))))


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
        rounding: what the activations are rounded to; None if they are not.
    """

    numbers: Int8[Tensor, "rows columns"]
    scales: Float32[Tensor, "rows spans"]
    bits: int
    piece: Piece
    span: int
    turned: bool = False
    rounding: Rounding | None = None

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
    piece = part.piece.plain
    rounding = _rounding_of(part)
    bits = 8 if rounding else bits
    return Codes(numbers.to(torch.int8), scales, bits, piece, grid.span, turned, rounding)


def _rounding_of(part: FewBits) -> Rounding | None:
    """What the activations of a layer are rounded to."""
    found, bias = part.activations, bias_of(part)
    if found is None:
        return None
    added = torch.zeros(part.piece.outputs) if bias is None else bias.detach().clone()
    return Rounding(found.levels, found.output, added)


def after_norms(
    model: nn.Module, codes: Mapping[str, Codes], factors: Mapping[str, Tensor]
) -> dict[str, Codes]:
    """Codes of layers into which norms were folded, with the factors of their rows."""
    found = {}
    for name, each in codes.items():
        folded = each.multiplied(factors[name]) if name in factors else each
        if each.rounding is not None:
            bias = bias_of(model.get_submodule(name))
            rounding = each.rounding.after_norm(factors.get(name, 1.0), bias)
            folded = replace(folded, rounding=rounding)
        found[name] = folded
    return found

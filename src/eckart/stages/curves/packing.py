"""Options as a few tensors, so that ten thousands of them are kept, sent and read in no time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from eckart.errors import CheckpointError
from eckart.records import Form, Option, Piece
from eckart.records.pieces import Size

_MODES = ("zeros", "reflect", "replicate", "circular")
_AXES = 3
_PLAIN = ("inputs", "outputs", "groups", "bias", "carries", "transposed", "table", "bits", "span")
_SIZES = ("kernel", "stride", "padding", "dilation", "extra")


@dataclass(frozen=True)
class PackedOptions:
    """Options of one layer.

    Attributes:
        pieces: every distinct piece as numbers.
        lengths: pieces of each option's form.
        members: which pieces these are, of all forms one after the other.
        names: of the methods.
        methods: which of these each option is by.
        losses: of each option.
    """

    pieces: Int64[Tensor, "pieces numbers"]
    lengths: Int64[Tensor, " options"]
    members: Int64[Tensor, " members"]
    names: tuple[str, ...]
    methods: Int64[Tensor, " options"]
    losses: Float64[Tensor, " options"]

    @classmethod
    def of(cls, options: Sequence[Option]) -> PackedOptions:
        """The options as numbers."""
        known: dict[Piece, int] = {}
        names: dict[str, int] = {}
        members = [known.setdefault(p, len(known)) for o in options for p in o.form.pieces]
        methods = [names.setdefault(option.method, len(names)) for option in options]
        rows = [_numbers(piece) for piece in known]
        return cls(
            torch.tensor(rows, dtype=torch.int64).reshape(len(rows), -1 if rows else 0),
            torch.tensor([len(option.form.pieces) for option in options], dtype=torch.int64),
            torch.tensor(members, dtype=torch.int64),
            tuple(names),
            torch.tensor(methods, dtype=torch.int64),
            torch.tensor([option.loss for option in options], dtype=torch.float64),
        )

    def options(self) -> list[Option]:
        """The options again, equal to the bit.

        Raises:
            CheckpointError: the numbers do not describe options.
        """
        try:
            return self._options()
        except (IndexError, ValueError) as error:
            raise CheckpointError(f"options of a layer are damaged ({error!s:.100})") from error

    def _options(self) -> list[Option]:
        pieces = [_piece(row) for row in self.pieces.tolist()]
        members, found, at = [pieces[index] for index in self.members.tolist()], [], 0
        numbers = (self.lengths.tolist(), self.methods.tolist(), self.losses.tolist())
        for length, method, loss in zip(*numbers, strict=True):
            form = Form(tuple(members[at : at + length]))
            found.append(Option(self.names[method], form, loss))
            at += length
        return found


def _numbers(piece: Piece) -> list[int]:
    plain = [int(getattr(piece, name)) for name in _PLAIN]
    sizes = [getattr(piece, name) for name in _SIZES]
    padded = [number for size in sizes for number in (len(size), *size, *[0] * _AXES)[: _AXES + 1]]
    return [*plain, _MODES.index(piece.padding_mode), *padded]


def _piece(row: Sequence[int]) -> Piece:
    inputs, outputs, groups, bias, carries, transposed, table, bits, span, mode, *rest = row
    kernel, stride, padding, dilation, extra = (_size(rest, at) for at in range(len(_SIZES)))
    piece = Piece(
        inputs,
        outputs,
        kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        extra=extra,
        groups=groups,
        bias=bool(bias),
        carries=carries,
        transposed=bool(transposed),
        table=bool(table),
        bits=bits,
        span=span,
        padding_mode=_MODES[mode],
    )
    if groups < 1 or (wrong := piece.contradiction()) is not None:
        raise ValueError(wrong if groups > 0 else "no groups")
    return piece


def _size(numbers: Sequence[int], which: int) -> Size:
    length, *size = numbers[which * (_AXES + 1) : (which + 1) * (_AXES + 1)]
    return tuple(size[:length])

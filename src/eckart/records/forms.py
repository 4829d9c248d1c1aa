"""What a layer is, or may become: a chain of plain linear layers or convolutions."""

from __future__ import annotations

from dataclasses import KW_ONLY, asdict, dataclass, replace
from math import prod
from typing import Any

from eckart.errors import CheckpointError
from eckart.records.excerpts import excerpt
from eckart.records.reading import Count, Width, read

Size = tuple[int, ...]
_MOST_PIECES, _MOST_AXES, _WIDEST = 8, 3, 2**31 - 1
_TRIVIAL_AXIS = (1, 1, 0, 1)  # kernel, stride, padding, dilation of an axis that does nothing


@dataclass(frozen=True)
class Piece:
    """One plain layer: a matrix (``kernel=()``) or a convolution, known by its shapes alone.

    Attributes:
        inputs, outputs: features or channels.
        kernel, stride, padding, dilation: one number per spatial axis; empty for a matrix.
        groups: number of independent groups of channels.
        bias: whether a bias is added.
        padding_mode: as in ``torch.nn.Conv2d``.
        carries: number of outputs that are unchanged inputs, in an order of its own: all inputs, or
            0. That many rows of the weight are rows of the identity, and are not stored.
    """

    inputs: Width
    outputs: Width
    kernel: tuple[Width, ...] = ()
    _: KW_ONLY
    stride: tuple[Width, ...] = ()
    padding: tuple[Count, ...] = ()
    dilation: tuple[Width, ...] = ()
    groups: Width = 1
    bias: bool = False
    padding_mode: str = "zeros"
    carries: Count = 0

    def as_json(self) -> dict[str, Any]:
        """Plain dictionary."""
        return {k: v for k, v in asdict(self).items() if k != "carries" or v}

    @classmethod
    def unpacked(cls, data: Any) -> Any:
        """``carries`` is written only if it is not 0."""
        return {"carries": 0, **data} if isinstance(data, dict) else data

    def contradiction(self) -> str | None:
        """The geometry must agree in length, and the groups must divide the widths."""
        lengths = {len(s) for s in (self.kernel, self.stride, self.padding, self.dilation)}
        if len(lengths) > 1 or max(lengths) > _MOST_AXES:
            return (
                f"kernel, stride, padding, dilation must agree in length, of at most {_MOST_AXES}"
            )
        if self.inputs % self.groups or self.outputs % self.groups:
            return (
                f"{self.groups} groups do not divide {self.inputs} inputs, {self.outputs} outputs"
            )
        if max((*self.padding, self.carries), default=0) > _WIDEST:
            return f"padding and carries are at most {_WIDEST}"
        return None

    @property
    def weight_shape(self) -> Size:
        """Shape of the weight as in torch, including the rows that only carry."""
        return (self.outputs, self.inputs // self.groups, *self.kernel)

    @property
    def rest(self) -> Piece:
        """The stored part of a piece that carries: outputs that are not inputs, without bias."""
        return replace(self, outputs=self.outputs - self.carries, bias=False, carries=0)

    @property
    def matrix_shape(self) -> tuple[int, int, int]:
        """Shape (groups, out, in) of the weight as one matrix per group."""
        rows = self.outputs // self.groups
        return self.groups, rows, self.inputs // self.groups * prod(self.kernel)

    @property
    def weights(self) -> int:
        """Number of weights without the bias."""
        return self.rest.weights if self.carries else prod(self.weight_shape)

    @property
    def params(self) -> int:
        """Number of parameters."""
        return self.weights + self.outputs * self.bias

    @property
    def axes(self) -> tuple[Size, ...]:
        """(kernel, stride, padding, dilation) of every spatial axis."""
        return tuple(zip(self.kernel, self.stride, self.padding, self.dilation, strict=True))

    @property
    def is_depthwise(self) -> bool:
        """Whether every channel is filtered separately."""
        return self.inputs == self.outputs == self.groups > 1

    def pointwise(self, inputs: int, outputs: int, bias: bool = False) -> Piece:
        """A 1×1 piece of other widths, with the same number of axes and groups."""
        ones, zeros = (1,) * len(self.kernel), (0,) * len(self.kernel)
        return Piece(
            inputs,
            outputs,
            ones,
            stride=ones,
            padding=zeros,
            dilation=ones,
            groups=self.groups,
            bias=bias,
        )

    def output_size(self, size: Size) -> Size:
        """Positions at the output for an input of ``size``: (height, width), or (rows,)."""
        if not self.kernel:
            return size
        return tuple(
            (n + 2 * pad - dilation * (k - 1) - 1) // stride + 1
            for n, (k, stride, pad, dilation) in zip(size, self.axes, strict=True)
        )


@dataclass(frozen=True)
class Form:
    """A chain of pieces, applied from first to last, that replaces one layer."""

    pieces: tuple[Piece, ...]

    @property
    def is_plain(self) -> bool:
        """Whether this is a single layer, unchanged or with fewer channels."""
        return len(self.pieces) == 1

    @property
    def carries(self) -> bool:
        """Whether the last piece carries."""
        return self.pieces[-1].carries > 0

    @property
    def params(self) -> int:
        """Parameters of all pieces."""
        return sum(piece.params for piece in self.pieces)

    @property
    def ranks(self) -> Size:
        """Widths between the pieces, per group of the first piece; empty for a single layer."""
        return tuple(piece.outputs // self.pieces[0].groups for piece in self.pieces[:-1])

    @property
    def rank(self) -> int | None:
        """The smallest of the ranks; None for a single layer."""
        return min(self.ranks, default=None)

    def macs(self, size: Size) -> int:
        """Multiply-adds for one example whose input has ``size`` positions."""
        total = 0
        for piece in self.pieces:
            size = piece.output_size(size)
            total += piece.weights * prod(size)
        return total

    def _groups_fit(self, dense: Piece) -> bool:
        """Whether all have the dense layer's groups; inner or plain pieces may be depthwise."""
        if self.is_plain and dense.is_depthwise:
            return self.pieces[0].inputs == self.pieces[0].outputs == self.pieces[0].groups
        ends, inner = (self.pieces[0], self.pieces[-1]), self.pieces[1:-1]
        return all(piece.groups == dense.groups for piece in ends) and all(
            piece.groups == dense.groups or piece.is_depthwise for piece in inner
        )

    def _carries_rightly(self) -> bool:
        """Whether only the last of several pieces carries: a pointwise, wider one in one group."""
        last = self.pieces[-1]
        wider = last.carries == last.inputs < last.outputs
        fits = wider and last.groups == 1 and set(last.axes) <= {_TRIVIAL_AXIS}
        return not any(p.carries for p in self.pieces[:-1]) and (
            not last.carries or (fits and not self.is_plain)
        )

    def __str__(self) -> str:
        widths = "→".join(str(piece.inputs) for piece in self.pieces)
        kernels = ", ".join("×".join(map(str, p.kernel)) for p in self.pieces if p.kernel)
        last = self.pieces[-1]
        rest = f"{last.carries}+{last.outputs - last.carries}"
        text = f"{widths}→{rest if last.carries else last.outputs}"
        return f"{text} ({kernels})" if kernels else text

    def as_json(self) -> list[dict[str, Any]]:
        """Plain lists and dictionaries."""
        return [piece.as_json() for piece in self.pieces]

    @classmethod
    def from_json(cls, data: Any) -> Form:
        """The inverse of ``as_json``; the data need not be trusted, see ``records.reading``."""
        return read(cls, data)

    @classmethod
    def unpacked(cls, data: Any) -> Any:
        """A form is written as the list of its pieces."""
        return {"pieces": data}

    def contradiction(self) -> str | None:
        """The number of pieces must be from 1 to a small limit."""
        wrong = not 1 <= len(self.pieces) <= _MOST_PIECES
        return f"a form has 1 to {_MOST_PIECES} pieces, got {len(self.pieces)}" if wrong else None

    def check_replaces(self, dense: Piece) -> None:
        """Raise ``CheckpointError`` unless this chain computes a layer of ``dense``'s shape.

        The ends may be narrower. The widths between the pieces must match. Exactly one piece must
        work on each spatial axis, in the same way as the dense layer. Only the last piece may have
        the bias. The widths are bounded by the size of the dense weight, so a hostile file cannot
        ask for much memory.
        """
        widest = max(dense.weights // dense.outputs * dense.groups, dense.weights // dense.inputs)
        widths = [piece.outputs for piece in self.pieces[:-1]]
        ends = (self.pieces[0].inputs, self.pieces[-1].outputs)
        problems = {
            "its ends are {} wide": ends[0] > dense.inputs or ends[1] > dense.outputs,
            "its widths do not join": widths != [piece.inputs for piece in self.pieces[1:]],
            "it is wider than the layer allows": any(w > widest for w in widths),
            "its kernels do not compose to the layer's": _axes(self.pieces) != _axes((dense,)),
            "its padding mode differs": any(
                p.padding_mode != dense.padding_mode for p in self.pieces if any(p.padding)
            ),
            "its groups differ": not self._groups_fit(dense),
            "a piece carries that cannot": not self._carries_rightly(),
            "its bias is misplaced": [p.bias for p in self.pieces]
            != [False] * len(widths) + [dense.bias],
        }
        wrong = [text.format(ends) for text, found in problems.items() if found]
        if wrong:
            raise CheckpointError(
                f"form {self} cannot replace {Form((dense,))}: {'; '.join(wrong)}"
            )


@dataclass(frozen=True, kw_only=True)
class LayerSpec:
    """A layer that can be compressed, as calibration saw it.

    Attributes:
        name: dotted path in the network.
        type: name of its layer type in the registry.
        dense: its own form.
        sizes: input positions of each call for one example: (height, width), or (rows,).
        itemsize: bytes per weight.
        input: key of its input moment; layers that read the same tensor share it.
    """

    name: str
    type: str
    dense: Form
    sizes: tuple[tuple[Width, ...], ...]
    itemsize: Width
    input: str

    @property
    def piece(self) -> Piece:
        """The dense layer's shapes."""
        return self.dense.pieces[0]

    def as_json(self) -> dict[str, Any]:
        """Plain lists and dictionaries."""
        return {**asdict(self), "dense": self.dense.as_json()}

    @classmethod
    def from_json(cls, data: Any) -> LayerSpec:
        """The inverse of ``as_json``."""
        return read(cls, data)

    def contradiction(self) -> str | None:
        """The dense form must be a single piece, and the inputs must have its axes."""
        if not self.dense.is_plain:
            return f"its dense form must have one piece, got {len(self.dense.pieces)}"
        axes = max(1, len(self.piece.kernel))
        if any(len(size) != axes for size in self.sizes):
            return f"an input of {axes} axes has sizes of other lengths: {excerpt(self.sizes)}"
        return None


def _axes(pieces: tuple[Piece, ...]) -> list[list[Size]]:
    """What the pieces do on each axis, in order, without pieces that do nothing there."""
    if len({len(piece.kernel) for piece in pieces}) != 1:
        return [[(-1,)]]
    columns = zip(*(piece.axes for piece in pieces), strict=True)
    return [[axis for axis in column if axis != _TRIVIAL_AXIS] for column in columns]

"""What a layer is, or may become: a chain of plain linear layers or convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass, replace
from math import prod
from typing import Any

from eckart.errors import CheckpointError

Size = tuple[int, ...]
_TRIVIAL_AXIS = (1, 1, 0, 1)  # kernel, stride, padding, dilation of an axis that does nothing


@dataclass(frozen=True)
class Piece:
    """One plain layer: a matrix (``kernel=()``) or a convolution, known by its shapes alone.

    Attributes:
        inputs, outputs: features or channels.
        kernel, stride, padding, dilation: one number per spatial axis; empty for a matrix.
        groups: the channels fall into so many independent groups.
        bias: whether a bias is added.
        padding_mode: as in ``torch.nn.Conv2d``.
        carries: so many of its outputs are inputs as they are, in an order of its own: all inputs,
            or none. So many rows of the weight are rows of the identity, and are not stored.
    """

    inputs: int
    outputs: int
    kernel: Size = ()
    _: KW_ONLY
    stride: Size = ()
    padding: Size = ()
    dilation: Size = ()
    groups: int = 1
    bias: bool = False
    padding_mode: str = "zeros"
    carries: int = 0

    @property
    def weight_shape(self) -> Size:
        """Shape of the weight, as torch keeps it; with the rows that only carry."""
        return (self.outputs, self.inputs // self.groups, *self.kernel)

    @property
    def rest(self) -> Piece:
        """What is stored of a piece that carries: the outputs that are not inputs, no bias."""
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
        """Whether every channel is filtered by itself."""
        return self.inputs == self.outputs == self.groups > 1

    def pointwise(self, inputs: int, outputs: int, bias: bool = False) -> Piece:
        """A 1×1 piece of other widths, with this one's number of axes and groups."""
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
    """A chain of pieces, applied first to last, that stands in for one layer."""

    pieces: tuple[Piece, ...]

    @property
    def is_plain(self) -> bool:
        """Whether this is one layer, as it was or with fewer channels."""
        return len(self.pieces) == 1

    @property
    def carries(self) -> bool:
        """Whether the last piece does."""
        return self.pieces[-1].carries > 0

    @property
    def params(self) -> int:
        """Parameters of all pieces."""
        return sum(piece.params for piece in self.pieces)

    @property
    def ranks(self) -> Size:
        """Widths between the pieces, per group of the first; none for one layer."""
        return tuple(piece.outputs // self.pieces[0].groups for piece in self.pieces[:-1])

    @property
    def rank(self) -> int | None:
        """The least of the ranks; None for one layer."""
        return min(self.ranks, default=None)

    def macs(self, size: Size) -> int:
        """Multiply-adds for one example whose input has ``size`` positions."""
        total = 0
        for piece in self.pieces:
            size = piece.output_size(size)
            total += piece.weights * prod(size)
        return total

    def _groups_fit(self, dense: Piece) -> bool:
        """The dense layer's groups; inner pieces, or a layer as it was, may also be depthwise."""
        if self.is_plain and dense.is_depthwise:
            return self.pieces[0].inputs == self.pieces[0].outputs == self.pieces[0].groups
        ends, inner = (self.pieces[0], self.pieces[-1]), self.pieces[1:-1]
        return all(piece.groups == dense.groups for piece in ends) and all(
            piece.groups == dense.groups or piece.is_depthwise for piece in inner
        )

    def _carries_rightly(self) -> bool:
        """Only the last of several pieces may carry: pointwise, in one group, and wider."""
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
        return [_piece_as_json(piece) for piece in self.pieces]

    @classmethod
    def from_json(cls, data: Any) -> Form:
        """The inverse of ``as_json``; checks every type, for the data may come from anywhere."""
        if not isinstance(data, list) or not 1 <= len(data) <= 8:
            raise CheckpointError(f"a form is a list of 1 to 8 pieces, got {data!r:.80}")
        return cls(tuple(_piece_from_json(item) for item in data))

    def check_replaces(self, dense: Piece) -> None:
        """Raise ``CheckpointError`` unless this chain computes a layer of ``dense``'s shape.

        Its ends may be narrower. The widths between must join, every spatial axis must be worked
        on exactly once and as the dense layer does, only the last piece may carry the bias, and
        nothing may be wider than the dense weight is long: a hostile file cannot ask for much
        memory.
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
        input: key of its input moment; layers that read one tensor share it.
    """

    name: str
    type: str
    dense: Form
    sizes: tuple[Size, ...]
    itemsize: int
    input: str

    @property
    def piece(self) -> Piece:
        """The dense layer's shapes."""
        return self.dense.pieces[0]

    def as_json(self) -> dict[str, Any]:
        """Plain lists and dictionaries."""
        return {**asdict(self), "dense": self.dense.as_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LayerSpec:
        """The inverse of ``as_json``."""
        sizes = tuple(tuple(size) for size in data["sizes"])
        return cls(**{**data, "dense": Form.from_json(data["dense"]), "sizes": sizes})


def _axes(pieces: tuple[Piece, ...]) -> list[list[Size]]:
    """For every axis, what the pieces do on it, in order, without those that do nothing."""
    if len({len(piece.kernel) for piece in pieces}) != 1:
        return [[(-1,)]]
    columns = zip(*(piece.axes for piece in pieces), strict=True)
    return [[axis for axis in column if axis != _TRIVIAL_AXIS] for column in columns]


def _piece_as_json(piece: Piece) -> dict[str, Any]:
    return {k: v for k, v in asdict(piece).items() if k != "carries" or v}


def _piece_from_json(item: Any) -> Piece:
    fields = set(Piece.__dataclass_fields__)
    if isinstance(item, dict):
        item = {"carries": 0, **item}
    if not isinstance(item, dict) or set(item) != fields:
        raise CheckpointError(f"a piece has the fields {sorted(fields)}, got {item!r:.120}")
    counts: dict[str, Any] = {k: item[k] for k in ("inputs", "outputs", "groups")}
    tuples: dict[str, Any] = {k: item[k] for k in ("kernel", "stride", "padding", "dilation")}
    if not all(_is_count(value) for value in counts.values()):
        raise CheckpointError(f"widths and groups must be positive integers, got {counts}")
    if not all(isinstance(v, list | tuple) and len(v) <= 3 for v in tuples.values()) or not all(
        _is_count(n, least=int(k != "padding")) for k, v in tuples.items() for n in v
    ):
        raise CheckpointError(f"kernel geometry must be short lists of integers, got {tuples}")
    if len({len(v) for v in tuples.values()}) != 1:
        raise CheckpointError(f"kernel geometry must agree in length, got {tuples}")
    if counts["inputs"] % counts["groups"] or counts["outputs"] % counts["groups"]:
        raise CheckpointError(f"widths must be multiples of the groups, got {counts}")
    carries, lists = item["carries"], {k: tuple(v) for k, v in tuples.items()}
    if not isinstance(item["bias"], bool) or not isinstance(item["padding_mode"], str):
        raise CheckpointError("bias must be true or false and padding_mode a name")
    if not _is_count(carries, least=0):
        raise CheckpointError(f"carries is a number of inputs, got {carries!r:.40}")
    return Piece(**{**item, **counts, **lists})


def _is_count(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**31

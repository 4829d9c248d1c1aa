"""One plain layer, known by its shapes: what forms are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, replace
from functools import lru_cache
from math import prod
from typing import Any

from eckart.records.code_sizes import packed_bytes, stored_bytes
from eckart.records.excerpts import excerpt
from eckart.records.reading import Count, Width

Size = tuple[int, ...]
Axis = tuple[int, int, int, int, int]
"""Kernel, stride, padding, dilation, extra of one spatial axis."""
_MODES = ("zeros", "reflect", "replicate", "circular")
_MOST_AXES, _WIDEST = 3, 2**31 - 1
WIDTHS = (2, 3, 4, 5, 6, 7, 8)
"""How many bits a code may have."""
ACTIVATIONS = 8
"""How many bits activations may be rounded to."""
IDLE: Axis = (1, 1, 0, 1, 0)  # an axis on which nothing is done
_ORDER_BYTES = 8  # of an index
_UNLESS = {
    **{"carries": 0, "extra": [], "transposed": False, "table": False},
    **{"bits": 0, "span": 0, "activations": 0},
}
"""Written only where they differ from this."""


@dataclass(frozen=True)
class Piece:
    """One plain layer: a matrix (``kernel=()``), a convolution, a transposed one, or a table.

    Attributes:
        inputs, outputs: features or channels.
        kernel, stride, padding, dilation: one number per spatial axis; empty for a matrix.
        groups: number of independent groups of channels.
        bias: whether a bias is added.
        padding_mode: as in ``torch.nn.Conv2d``.
        carries: number of outputs that are unchanged inputs, in an order of its own: all inputs, or
            0. That many rows of the weight are rows of the identity, and are not stored.
        extra: what is added at the end of each axis; empty if nothing is. In a convolution with
            ``padding="same"`` and an even kernel: padding. In a transposed one: output padding.
        transposed: whether it is a transposed convolution, as ``torch.nn.ConvTranspose2d``.
        table: whether rows of it are looked up by their numbers, as in ``torch.nn.Embedding``: a
            matrix that is multiplied with a column of the identity.
        bits: of each code that stands for a weight, 2 to 8; 0 keeps numbers of the layer's dtype.
        span: how many columns of the matrix share a scale; 0 is a whole row.
        activations: bits to which what comes in is rounded, and what goes out of a convolution: 8,
            or 0 for not at all.
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
    extra: tuple[Count, ...] = ()
    transposed: bool = False
    table: bool = False
    bits: Count = 0
    span: Count = 0
    activations: Count = 0

    def as_json(self) -> dict[str, Any]:
        """Plain dictionary."""
        return {k: v for k, v in asdict(self).items() if k not in _UNLESS or v}

    @classmethod
    def unpacked(cls, data: Any) -> Any:
        """What few pieces have is written only if they have it."""
        return {**_UNLESS, **data} if isinstance(data, dict) else data

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
        if max((*self.padding, *self.extra, self.carries), default=0) > _WIDEST:
            return f"padding, extra and carries are at most {_WIDEST}"
        if self.padding_mode not in _MODES:
            return f"padding_mode is one of {', '.join(_MODES)}, got {excerpt(self.padding_mode)}"
        return self._contradictory_end() or self._contradictory_bits()

    def _contradictory_end(self) -> str | None:
        """What is added at the end of an axis must be what torch can add there."""
        if self.table and (self.kernel or self.transposed or self.bias or self.carries):
            return "a table has no kernel and no bias, and carries nothing"
        if self.table and self.groups > 1:
            return f"a table has one group, got {self.groups}"
        if self.transposed and not (self.kernel and self.padding_mode == "zeros"):
            return "a transposed piece is a convolution with padding_mode 'zeros'"
        if self.extra and (len(self.extra) != len(self.kernel) or not any(self.extra)):
            return "extra is empty, or has a number per axis that are not all 0"
        if self.transposed:
            wrong = any(extra >= stride for _, stride, _, _, extra in self.axes)
            return "extra must be smaller than stride in a transposed piece" if wrong else None
        uneven = any(s != 1 or 2 * p + e != d * (k - 1) for k, s, p, d, e in self.axes)
        return "extra must pad to the same size" if self.extra and uneven else None

    def _contradictory_bits(self) -> str | None:
        """A width must be known, and spans belong to codes."""
        if self.bits not in (0, *WIDTHS):
            return f"bits are 0 or one of {', '.join(map(str, WIDTHS))}, got {self.bits}"
        if self.bits and self.carries:
            return "a piece that carries keeps numbers of the layer's dtype"
        if self.bits and self.table and self.outputs % 8:
            return f"codes of a table need a multiple of 8 columns, got {self.outputs}"
        if self.span and not self.bits:
            return "only codes have spans"
        return self._contradictory_activations()

    def _contradictory_activations(self) -> str | None:
        """Kernels for rounded activations take weights of 8 bits with one scale per row."""
        if self.activations not in (0, ACTIVATIONS):
            return f"activations have 0 or {ACTIVATIONS} bits, got {self.activations}"
        able = (self.bits, self.span) == (ACTIVATIONS, 0) and not (self.table or self.transposed)
        if self.activations and not able:
            return "rounded activations need a plain layer in codes of 8 bits, without spans"
        return None

    @property
    def plain(self) -> Piece:
        """With numbers of the layer's dtype in place of codes."""
        return replace(self, bits=0, span=0, activations=0)

    @property
    def scales(self) -> Size:
        """Shape of the scales of the codes: (groups, rows, spans)."""
        groups, rows, columns = self.code_shape
        return (groups, rows, -(-columns // self.span) if self.span else 1)

    @property
    def code_shape(self) -> tuple[int, int, int]:
        """The matrices in whose rows codes share scales; those of a table are its own rows."""
        groups, rows, columns = self.matrix_shape
        return (groups, columns, rows) if self.table else (groups, rows, columns)

    @property
    def code_bytes(self) -> int:
        """Bytes of the packed codes."""
        return packed_bytes(self.weights, self.bits)

    def stored_bytes(self, itemsize: int) -> int:
        """Bytes of all that is stored of it.

        They are those of weight and bias; of codes with scales of two bytes where there are
        ``bits``, and of the order, 8 bytes per output, where it ``carries``. Rounded activations
        have two numbers for what comes in, and two per channel for what goes out.
        """
        if not self.bits:
            return self.params * itemsize + _ORDER_BYTES * self.outputs * bool(self.carries)
        groups, rows, columns = self.code_shape
        weight = stored_bytes(groups * rows, columns, self.bits, self.span or None)
        rounded = 2 + 2 * self.outputs * bool(self.kernel) if self.activations else 0
        return weight + self.outputs * self.bias * itemsize + 4 * rounded

    @property
    def inputs_first(self) -> bool:
        """Whether torch keeps the inputs on the first axis of the weight."""
        return self.transposed or self.table

    @property
    def weight_shape(self) -> Size:
        """Shape of the weight as in torch, including the rows that only carry."""
        if self.inputs_first:
            return (self.inputs, self.outputs // self.groups, *self.kernel)
        return (self.outputs, self.inputs // self.groups, *self.kernel)

    @property
    def rest(self) -> Piece:
        """The stored part of a piece that carries: outputs that are not inputs, without bias."""
        return replace(self, outputs=self.outputs - self.carries, bias=False, carries=0)

    @property
    def blocks(self) -> tuple[int, int]:
        """Rows and columns of the matrix for each output and each input channel.

        A convolution reads patches: the kernel belongs to the columns. A transposed one writes
        patches: it belongs to the rows.
        """
        taps = prod(self.kernel)
        return (taps, 1) if self.transposed else (1, taps)

    @property
    def matrix_shape(self) -> tuple[int, int, int]:
        """Shape (groups, out, in) of the weight as one matrix per group."""
        rows, columns = self.blocks
        return (
            self.groups,
            self.outputs // self.groups * rows,
            self.inputs // self.groups * columns,
        )

    @property
    def moment_shape(self) -> tuple[int, int, int]:
        """Groups, and the sizes of the moments of output gradients and of inputs.

        A table has the moment of the rows that are looked up in place of that of its inputs, of
        which each is a column of the identity.
        """
        groups, out, inputs = self.matrix_shape
        return (groups, out, out if self.table else inputs)

    @property
    def weights(self) -> int:
        """Number of weights without the bias."""
        return self.rest.weights if self.carries else prod(self.weight_shape)

    @property
    def params(self) -> int:
        """Number of parameters."""
        return self.weights + self.outputs * self.bias

    @property
    def axes(self) -> tuple[Axis, ...]:
        """What is done on every spatial axis."""
        extra = self.extra or (0,) * len(self.kernel)
        numbers = (self.kernel, self.stride, self.padding, self.dilation, extra)
        return tuple(zip(*numbers, strict=True))

    @property
    def is_pointwise(self) -> bool:
        """Whether nothing is done on any spatial axis."""
        return all(axis == IDLE for axis in self.axes)

    def on(self, axes: Iterable[int]) -> Piece:
        """This piece on some of its axes; on the others it does nothing."""
        working = set(axes)
        chosen = [axis if at in working else IDLE for at, axis in enumerate(self.axes)]
        return self.with_axes(chosen)

    def with_axes(self, axes: Sequence[Axis]) -> Piece:
        """This piece with other things to do on its axes."""
        kernel, stride, padding, dilation, extra = zip(*axes, strict=True) if axes else ((),) * 5
        return replace(
            self,
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            extra=extra if any(extra) else (),
        )

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
        return _output_size(size, self.axes, self.transposed) if self.kernel else size

    def macs(self, size: Size) -> int:
        """Multiply-adds for one example whose input has ``size`` positions; a table has none."""
        if self.table:
            return 0
        return self.weights * prod(size if self.transposed else self.output_size(size))


@lru_cache(maxsize=4096)  # few kernels and sizes, asked for by every option
def _output_size(size: Size, axes: tuple[Axis, ...], transposed: bool) -> Size:
    if transposed:
        return tuple(
            (n - 1) * stride - 2 * pad + dilation * (k - 1) + extra + 1
            for n, (k, stride, pad, dilation, extra) in zip(size, axes, strict=True)
        )
    return tuple(
        (n + 2 * pad + extra - dilation * (k - 1) - 1) // stride + 1
        for n, (k, stride, pad, dilation, extra) in zip(size, axes, strict=True)
    )

"""What a layer is, or may become: a chain of plain linear layers or convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from eckart.errors import CheckpointError
from eckart.records.excerpts import excerpt
from eckart.records.pieces import IDLE, Axis, Piece, Size
from eckart.records.reading import Width, read

Multiplied = Literal["never", "last", "all"]
"""What the module around a layer multiplies out of its chain before it runs it."""
_MOST_PIECES = 8


@dataclass(frozen=True)
class Form:
    """A chain of pieces, applied from first to last, that replaces one layer."""

    pieces: tuple[Piece, ...]

    @property
    def is_plain(self) -> bool:
        """Whether this is a single layer in its own dtype, unchanged or with fewer channels."""
        return len(self.pieces) == 1 and not self.bits

    @property
    def carries(self) -> bool:
        """Whether the last piece carries."""
        return self.pieces[-1].carries > 0

    @property
    def bits(self) -> Size:
        """Bits of the codes of the pieces that have codes; empty if none has."""
        return tuple(piece.bits for piece in self.pieces if piece.bits)

    @property
    def uncoded(self) -> Form:
        """The same chain with weights in the layer's dtype."""
        return self.in_codes((0,) * len(self.pieces)) if self.bits else self

    @property
    def unpivoted(self) -> Form:
        """The same chain with all rows of a last piece that carries."""
        return Form((*self.pieces[:-1], replace(self.pieces[-1], carries=0)))

    @property
    def activations(self) -> int:
        """Bits to which the activations of its pieces are rounded; 0 if they are not."""
        return max(piece.activations for piece in self.pieces)

    def in_codes(self, bits: Sequence[int], span: int = 0, activations: int = 0) -> Form:
        """The same chain with codes of these widths, one per piece; 0 keeps its numbers.

        A piece that carries has codes for all of its rows. Its order takes 8 bytes for each output,
        and rows of the identity would repeat what the codes of the piece before it have lost.
        """
        return Form(
            tuple(
                replace(piece, bits=width, span=span, carries=0, activations=activations)
                if width
                else piece.plain
                for piece, width in zip(self.pieces, bits, strict=True)
            )
        )

    def stored_bytes(self, itemsize: int) -> int:
        """Bytes of all weights and biases; what is not in codes has ``itemsize`` bytes each."""
        return sum(piece.stored_bytes(itemsize) for piece in self.pieces)

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
            total += piece.macs(size)
            size = piece.output_size(size)
        return total

    def as_run(self, multiplied: Multiplied) -> Form:
        """The chain whose multiply-adds count, where a module multiplies some of it out.

        The last piece as a whole matrix, although it carries; or all pieces as their product.
        """
        if multiplied == "never":
            return self
        first, *_, last = self.pieces if len(self.pieces) > 1 else (*self.pieces, *self.pieces)
        if multiplied == "all":
            return Form((Piece(first.inputs, last.outputs),))
        whole = multiplied == "last" and last.carries > 0
        return Form((*self.pieces[:-1], replace(last, carries=0))) if whole else self

    def _groups_fit(self, dense: Piece) -> bool:
        """Whether all have the dense layer's groups; inner or plain pieces may be depthwise."""
        if len(self.pieces) == 1 and dense.is_depthwise:
            return self.pieces[0].inputs == self.pieces[0].outputs == self.pieces[0].groups
        ends, inner = (self.pieces[0], self.pieces[-1]), self.pieces[1:-1]
        return all(piece.groups == dense.groups for piece in ends) and all(
            piece.groups == dense.groups or piece.is_depthwise for piece in inner
        )

    def _turns_like(self, dense: Piece) -> bool:
        """Whether pieces are transposed where the layer is; pointwise ones between need not be."""
        turned = [piece.transposed for piece in self.pieces if not piece.is_pointwise]
        some = any(piece.transposed for piece in self.pieces)
        return some == dense.transposed and set(turned) <= {dense.transposed}

    def _carries_rightly(self) -> bool:
        """Whether only the last of several pieces carries: a pointwise, wider one in one group."""
        last = self.pieces[-1]
        wider = last.carries == last.inputs < last.outputs
        fits = wider and last.groups == 1 and last.is_pointwise and not last.transposed
        return not any(p.carries for p in self.pieces[:-1]) and (
            not last.carries or (fits and len(self.pieces) > 1)
        )

    def __str__(self) -> str:
        widths = "→".join(str(piece.inputs) for piece in self.pieces)
        kernels = ", ".join(
            "×".join(map(str, p.kernel)) + " transposed" * p.transposed
            for p in self.pieces
            if p.kernel
        )
        last = self.pieces[-1]
        rest = f"{last.carries}+{last.outputs - last.carries}"
        text = f"{widths}→{rest if last.carries else last.outputs}"
        notes = [kernels] * bool(kernels)
        notes += ["-".join(map(str, self.bits)) + " bits"] * bool(self.bits)
        notes += ["activations too"] * bool(self.activations)
        return f"{text} ({', '.join(notes)})" if notes else text

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
                p.padding_mode != dense.padding_mode
                for p in self.pieces
                if any(p.padding) or p.extra
            ),
            "its groups differ": not self._groups_fit(dense),
            "its transposed pieces differ": not self._turns_like(dense),
            "its tables differ": [p.table for p in self.pieces]
            != [dense.table] + [False] * len(widths),
            "a piece carries that cannot": not self._carries_rightly(),
            "its bias is misplaced": [p.bias for p in self.pieces]
            != [False] * len(widths) + [dense.bias],
        }
        wrong = [text.format(ends) for text, found in problems.items() if found]
        if wrong:
            raise CheckpointError(
                f"form {self} cannot replace {Form((dense,))}: {'; '.join(wrong)}"
            )


_USUAL: Mapping[str, Any] = {"multiplied": "never", "share": 1.0}
"""The fields of a ``LayerSpec`` that most layers have alike."""


@dataclass(frozen=True, kw_only=True)
class LayerSpec:
    """A layer that can be compressed, as calibration saw it.

    Attributes:
        name: dotted path in the network.
        type: name of its layer type in the registry.
        dense: its own form.
        sizes: input positions of each call for one example: (height, width), or (rows,). None if
            that example does not call it, as an expert for other inputs; the layer's multiply-adds
            then count neither here nor in the whole network's.
        itemsize: bytes per weight.
        input: key of its input moment; layers that read the same tensor share it.
        multiplied: what of a chain is multiplied out before it runs: ``"never"`` anything;
            ``"last"``, the last piece as its whole weight; ``"all"``, the product of all pieces, so
            a chain saves bytes and no time.
        share: of the tokens, how many reach it: k/n if a router sends each to k of n experts.
    """

    name: str
    type: str
    dense: Form
    sizes: tuple[tuple[Width, ...], ...]
    itemsize: Width
    input: str
    multiplied: Multiplied = "never"
    share: float = 1.0

    @property
    def piece(self) -> Piece:
        """The dense layer's shapes."""
        return self.dense.pieces[0]

    @property
    def can_round(self) -> bool:
        """Whether kernels for whole numbers could run it: a call of its own of a plain layer."""
        return self.multiplied == "never" and not (self.piece.table or self.piece.transposed)

    def as_json(self) -> dict[str, Any]:
        """Plain lists and dictionaries; what is as usual is left out."""
        plain = {k: v for k, v in asdict(self).items() if _USUAL.get(k) != v}
        return {**plain, "dense": self.dense.as_json()}

    @classmethod
    def from_json(cls, data: Any) -> LayerSpec:
        """The inverse of ``as_json``."""
        return read(cls, data)

    @classmethod
    def unpacked(cls, data: Any) -> Any:
        """With what is left out where it is as usual."""
        return {**_USUAL, **data} if isinstance(data, dict) else data

    def macs(self, form: Form) -> int:
        """Multiply-adds of all calls for one example, with this form in the layer's place."""
        run = form.as_run(self.multiplied)
        return sum(run.macs(size) for size in self.sizes)

    def contradiction(self) -> str | None:
        """The dense form must be a single piece, and the inputs must have its axes."""
        if not self.dense.is_plain:
            return f"its dense form must have one piece, got {len(self.dense.pieces)}"
        if not 0 < self.share <= 1:
            return f"a share of {self.share} of the tokens cannot reach it"
        axes = max(1, len(self.piece.kernel))
        if any(len(size) != axes for size in self.sizes):
            return f"an input of {axes} axes has sizes of other lengths: {excerpt(self.sizes)}"
        return None


def _axes(pieces: tuple[Piece, ...]) -> list[list[Axis]] | None:
    """What the pieces do on each axis, in order, without pieces that do nothing there."""
    if len({len(piece.kernel) for piece in pieces}) != 1:
        return None
    columns = zip(*(piece.axes for piece in pieces), strict=True)
    return [[axis for axis in column if axis != IDLE] for column in columns]

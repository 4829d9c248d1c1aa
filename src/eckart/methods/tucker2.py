"""Tucker-2: 1×1 to fewer inputs, the layer's kernel to fewer outputs, 1×1 to all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

from torch import Tensor

from eckart.linalg import NestedTucker
from eckart.methods.pointwise_first import input_factors
from eckart.methods.problem import Problem
from eckart.records import Form, Piece

_STEPS = 16  # about the number of ranks that are offered of each side


@final
@dataclass(frozen=True)
class TuckerTwo:
    """Both channel axes at once; the inputs as ``PointwiseFirst`` has them, the rest optimal.

    Attributes:
        name: in the registry.
    """

    name: str = "tucker2"

    def applies(self, piece: Piece) -> bool:
        """Kernels of more than one position, more than one channel per group at both ends."""
        return max(piece.kernel, default=1) > 1 and min(piece.inputs, piece.outputs) > piece.groups

    def losses(self, problem: Problem) -> list[tuple[Form, float]]:
        """Pairs of a grid of at most sixteenths: its ranks are multiples of a power of two."""
        groups, out, row = problem.piece.matrix_shape
        channels = problem.piece.inputs // groups
        inputs, positions = grid(channels), row // channels
        nested = NestedTucker(input_factors(problem, inputs[-1]))
        table = nested.losses(r for r in inputs if r <= nested.most)
        return [
            (tucker2_form(problem.piece, s, r), float(losses[s]))
            for r, losses in table.items()
            for s in grid(out)
            if s <= r * positions
        ]

    def build(self, problem: Problem, form: Form) -> list[Tensor]:
        """The three kernels, the scale split evenly."""
        inputs, outputs = form.ranks
        built = NestedTucker(input_factors(problem, inputs)).built(outputs, inputs)
        kernels = zip(form.pieces, built, strict=True)
        return [kernel.reshape(piece.weight_shape) for piece, kernel in kernels]


def tucker2_form(piece: Piece, outputs: int, inputs: int) -> Form:
    """A 1×1 kernel to ``inputs`` channels per group, the layer's to ``outputs``, a 1×1 kernel."""
    into, out = inputs * piece.groups, outputs * piece.groups
    return Form(
        (
            piece.pointwise(piece.inputs, into),
            replace(piece, inputs=into, outputs=out, bias=False),
            piece.pointwise(out, piece.outputs, piece.bias),
        )
    )


def grid(channels: int) -> list[int]:
    """At most fifteen ranks below so many channels, multiples of a power of two."""
    step = max(1, 2 ** (channels - 1).bit_length() // _STEPS)
    return list(range(step, channels, step))

"""Tucker-2: 1×1 to fewer inputs, the layer's kernel to fewer outputs, 1×1 to all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

from torch import Tensor

from eckart.linalg import NestedTucker, separable_factors
from eckart.methods.problem import Problem
from eckart.records import Form, Piece

_STEPS = 16  # about the number of ranks that are offered of each side


@dataclass(frozen=True)
class TuckerTwoState:
    """The fits behind a grid of ranks of the inputs.

    Attributes:
        piece: the layer.
        nested: for every rank of the inputs that is offered, the directions of the outputs.
    """

    piece: Piece
    nested: NestedTucker


@final
@dataclass(frozen=True)
class TuckerTwo:
    """Both channel axes at once; the inputs by ``separable_factors``, the rest optimal for them.

    The inputs are mixed as is best where ``A`` is a product of a moment of the channels and one of
    the positions. The other two kernels are least squares under the whole ``A``.

    Attributes:
        name: in the registry.
        state: what ``prepare`` returns.
    """

    name: str = "tucker2"
    state: type[TuckerTwoState] = TuckerTwoState

    def applies(self, piece: Piece) -> bool:
        """Kernels of more than one position, more than one channel per group at both ends."""
        return max(piece.kernel, default=1) > 1 and min(piece.inputs, piece.outputs) > piece.groups

    def prepare(self, problem: Problem) -> TuckerTwoState:
        """One decomposition for the inputs, and one of the outputs for each of their ranks."""
        channels = problem.piece.inputs // problem.piece.groups
        kernel = problem.weight.unflatten(2, (channels, 1, -1))
        ranks = grid(channels)
        factors = separable_factors(kernel, problem.a, problem.g, ranks[-1])
        return TuckerTwoState(problem.piece, NestedTucker.behind(factors, ranks))

    def losses(self, state: TuckerTwoState) -> list[tuple[Form, float]]:
        """Pairs of a grid of at most sixteenths: its ranks are multiples of a power of two."""
        groups, out, row = state.piece.matrix_shape
        positions = row // (state.piece.inputs // groups)
        return [
            (tucker2_form(state.piece, s, r), float(losses[s]))
            for r, losses in state.nested.losses().items()
            for s in grid(out)
            if s <= r * positions
        ]

    def build(self, state: TuckerTwoState, form: Form) -> list[Tensor]:
        """The three kernels, the scale split evenly."""
        inputs, outputs = form.ranks
        kernels = zip(form.pieces, state.nested.built(outputs, inputs), strict=True)
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

"""Tucker-2: 1×1 to fewer inputs, a kernel of the layer's size to fewer outputs, 1×1 to all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import final

from torch import Tensor

from eckart.linalg import NestedTucker
from eckart.linalg.separable import factors_of_blocks
from eckart.methods.adjoint import as_convolution, convolution, weights_in
from eckart.methods.problem import Problem
from eckart.records import Form, Piece

_STEPS = 16  # about this many ranks are offered per side


@dataclass(frozen=True)
class TuckerTwoState:
    """The fits for a grid of input ranks.

    Attributes:
        piece: the layer.
        nested: the directions of the outputs for every input rank that is offered.
    """

    piece: Piece
    nested: NestedTucker


@final
@dataclass(frozen=True)
class TuckerTwo:
    """Both channel axes at once: inputs by separable factors, the rest optimal given these.

    The mixing of the inputs is optimal if ``A`` is a product of a moment of the channels and one of
    the positions. The other two kernels are the least-squares solution under the whole ``A``.

    Attributes:
        name: in the registry.
        state: what ``prepare`` returns.
    """

    name: str = "tucker2"
    state: type[TuckerTwoState] = TuckerTwoState

    def applies(self, piece: Piece) -> bool:
        """True for kernels of several positions, with several channels per group at both ends."""
        return max(piece.kernel, default=1) > 1 and min(piece.inputs, piece.outputs) > piece.groups

    def prepare(self, problem: Problem) -> TuckerTwoState:
        """One decomposition for the inputs, and one for the outputs per input rank."""
        flat = as_convolution(problem)
        channels = flat.piece.inputs // flat.piece.groups
        kernel = flat.weight.unflatten(2, (channels, 1, -1))
        ranks = grid(channels)
        by_axis = kernel.shape[2:]
        blocks, seen = flat.a.reshape(-1, *by_axis, *by_axis), flat.seen.reshape(kernel.shape)
        factors = factors_of_blocks(kernel, blocks, seen, flat.lift, ranks[-1])
        return TuckerTwoState(problem.piece, NestedTucker.behind(factors, ranks))

    def losses(self, state: TuckerTwoState) -> list[tuple[Form, float]]:
        """The forms of all pairs of ranks on a grid; see ``grid``."""
        flat = convolution(state.piece)
        out, positions = flat.outputs // flat.groups, prod(flat.kernel)
        return [
            (tucker2_form(state.piece, s, r), float(losses[s]))
            for r, losses in state.nested.losses().items()
            for s in grid(out)
            if s <= r * positions
        ]

    def build(self, state: TuckerTwoState, form: Form) -> list[Tensor]:
        """The three kernels, with the scale split evenly between them."""
        inputs, outputs = form.ranks[:: -1 if state.piece.transposed else 1]
        return weights_in(form, state.nested.built(outputs, inputs))


def tucker2_form(piece: Piece, outputs: int, inputs: int) -> Form:
    """A 1×1 kernel to ``inputs`` channels per group, one to ``outputs``, and a 1×1 kernel.

    The kernel in the middle has the layer's size. Of a transposed convolution, whose adjoint this
    is, the two ranks change places.
    """
    if piece.transposed:
        inputs, outputs = outputs, inputs
    into, out = inputs * piece.groups, outputs * piece.groups
    return Form(
        (
            piece.pointwise(piece.inputs, into),
            replace(piece, inputs=into, outputs=out, bias=False),
            piece.pointwise(out, piece.outputs, piece.bias),
        )
    )


def grid(channels: int) -> list[int]:
    """At most fifteen ranks below the number of channels, all multiples of one power of two."""
    step = max(1, 2 ** (channels - 1).bit_length() // _STEPS)
    return list(range(step, channels, step))

"""A transposed convolution as the convolution that it is the adjoint of.

``tr(G ΔW A ΔWᵀ) = tr(A ΔWᵀ G ΔW)``: what is optimal for the convolution ``Wᵀ``, with ``G`` as the
moment of its patches and ``A`` as that of its outputs, is optimal for ``W``, back to front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from eckart.layers import exchanged
from eckart.methods.problem import Problem
from eckart.records import Form, Piece


def as_convolution(problem: Problem) -> Problem:
    """The problem itself, or for a transposed convolution that of its adjoint."""
    if not problem.piece.transposed:
        return problem
    return Problem(
        convolution(problem.piece),
        lambda: problem.weight.mT.contiguous(),
        lambda: problem.g,
        lambda: problem.a,
        dtype=problem.dtype,
        narrowed=problem.narrowed,
    )


def convolution(piece: Piece) -> Piece:
    """The piece itself, or the convolution that a transposed one is the adjoint of."""
    if not piece.transposed:
        return piece
    return _turned(piece)


def adjoint_form(form: Form) -> Form:
    """The chain of convolutions that a chain with transposed ones is the adjoint of."""
    return Form(tuple(_turned(piece) for piece in reversed(form.pieces)))


def weights_in(form: Form, kernels: Sequence[Tensor]) -> list[Tensor]:
    """The weights of a form's pieces, from the kernels of the convolution, as they are in torch.

    If the form is of a transposed convolution, they come back to front. Transposed pieces keep
    their weights as the adjoint does; those of the others are exchanged.
    """
    if not any(piece.transposed for piece in form.pieces):
        pairs = zip(kernels, form.pieces, strict=True)
        return [kernel.reshape(piece.weight_shape) for kernel, piece in pairs]
    return [
        _adjoint(kernel, piece) for kernel, piece in zip(kernels[::-1], form.pieces, strict=True)
    ]


def _adjoint(kernel: Tensor, piece: Piece) -> Tensor:
    """The weight of one piece, from the kernel of its adjoint."""
    if piece.transposed:
        return kernel.reshape(piece.weight_shape)
    shape = _turned(piece).weight_shape
    return exchanged(kernel.reshape(shape), replace(piece, transposed=True))


def _turned(piece: Piece) -> Piece:
    """With inputs and outputs exchanged, and no bias; not transposed."""
    turned = replace(piece, inputs=piece.outputs, outputs=piece.inputs)
    return replace(turned, transposed=False, extra=(), bias=False)

"""The least-squares problem that every method solves for one layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from eckart.layers import as_matrix
from eckart.linalg import damped
from eckart.records import Moments, Piece

DAMPING = 1e-6  # relative to a moment's mean diagonal; float32 products have noise of this order
_NOISE = 0.25 * torch.finfo(torch.float32).eps  # of sums of float32 products; a tenth was measured


@dataclass(frozen=True)
class Problem:
    """One layer to approximate: minimise ``½ tr(G (W - M) A (W - M)ᵀ)`` over forms of ``M``.

    Attributes:
        piece: the dense layer's shapes.
        weight: W, shape (groups, out, in).
        a: damped second moment of the inputs, (groups, in, in).
        g: damped second moment of the output gradients, (groups, out, out).
    """

    piece: Piece
    weight: Float64[Tensor, "groups out in"]
    a: Float64[Tensor, "groups in in"]
    g: Float64[Tensor, "groups out out"]


def problem_of(layer: nn.Module, name: str, moments: Moments, damping: float = DAMPING) -> Problem:
    """A layer's weight, ``A`` and ``G`` in float64, damped, on the weight's device."""
    weight = as_matrix(layer).double()
    sums = (moments.a(name), moments.g(name))
    a, g = (regular(moment.to(weight.device), damping) for moment in sums)
    return Problem(moments.specs[name].piece, weight, a, g)


def regular(
    moment: Float64[Tensor, "groups n n"], damping: float = DAMPING
) -> Float64[Tensor, "groups n n"]:
    """A moment from sums of float32 products, damped so that its root and inverse exist."""
    return damped(moment, damping, _NOISE)

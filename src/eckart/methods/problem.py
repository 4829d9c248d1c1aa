"""The least-squares problem that every method solves for one layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from eckart.layers import as_matrix
from eckart.linalg import damped
from eckart.methods.cache import Forgetful, Held, Memory, OnDisk
from eckart.moments import Moments
from eckart.records import Piece
from eckart.records.offer import DAMPING

_NOISE = 0.25 * torch.finfo(torch.float32).eps  # of sums of float32 products; a tenth was measured


@final
class Problem:
    """One layer to approximate: minimise ``½ tr(G (W - M) A (W - M)ᵀ)`` over forms of ``M``.

    The moments may be given as functions, for they are large, and where a decomposition is
    remembered nobody asks for them.

    Attributes:
        piece: the dense layer's shapes.
        weight: W, shape (groups, out, in).
        a: damped second moment of the inputs, (groups, in, in).
        g: damped second moment of the output gradients, (groups, out, out).
        g_scale: where ``G`` is a multiple of the identity, which one.
        memory: of decompositions.
        narrowed: whether channels were taken from the layer, which it may be at many widths.
    """

    def __init__(
        self,
        piece: Piece,
        weight: Float64[Tensor, "groups out in"],
        a: Float64[Tensor, "groups in in"] | Callable[[], Tensor],
        g: Float64[Tensor, "groups out out"] | Callable[[], Tensor],
        *,
        g_scale: float | None = None,
        memory: Memory | None = None,
        narrowed: bool = False,
    ) -> None:
        self.piece, self.weight, self.narrowed = piece, weight, narrowed
        self.g_scale, self.memory = g_scale, memory or Forgetful()
        self._a, self._g = a, g

    @cached_property
    def a(self) -> Float64[Tensor, "groups in in"]:
        return self._a() if callable(self._a) else self._a

    @cached_property
    def g(self) -> Float64[Tensor, "groups out out"]:
        return self._g() if callable(self._g) else self._g


def problem_of(layer: nn.Module, name: str, moments: Moments, damping: float = DAMPING) -> Problem:
    """A layer's weight, ``A`` and ``G`` in float64, damped, on the weight's device.

    A ``G`` that is a multiple of the identity needs no damping. Decompositions are remembered
    beside the moments: in their workspace, else in memory, up to as many bytes as the moments take.
    """
    stored, layer_damped = as_matrix(layer), f"{name} damping {damping:g}"
    weight, kept, scale = stored.double(), moments.decompositions, moments.g_scale(name)

    def a() -> Tensor:
        return regular(moments.loss_a(name).to(weight.device), damping)

    def g() -> Tensor:
        found = moments.g(name).to(weight.device)
        return regular(found, damping) if scale is None else found

    memory: Memory = Held(moments.held, moments.nbytes, layer_damped, weight.device)
    if kept is not None:
        memory = OnDisk(kept, layer_damped, stored.dtype)
    return Problem(moments.specs[name].piece, weight, a, g, g_scale=scale, memory=memory)


def regular(
    moment: Float64[Tensor, "groups n n"], damping: float = DAMPING
) -> Float64[Tensor, "groups n n"]:
    """A moment from sums of float32 products, damped so that its root and inverse exist."""
    return damped(moment, damping, _NOISE)

"""The least-squares problem that every method solves for one layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from eckart.layers import as_matrix, weight_of
from eckart.linalg import damped, factor
from eckart.linalg.admissible import admissible, admissible_stack
from eckart.methods.tables import Table
from eckart.moments import Moments
from eckart.moments.shrinkage import shrunk_a, shrunk_g
from eckart.records import Piece
from eckart.records.offer import DAMPING
from eckart.records.shrinkage import Shrinkage

LEAST_FREQUENCY = 1e-2  # of a table's rows, relative to the mean; many are never looked up
_NOISE = 0.25 * torch.finfo(torch.float32).eps  # in sums of float32 products; measured: 0.1 eps


@dataclass(frozen=True)
class Known:
    """Products that a problem need not make of its matrices: each from a larger problem's."""

    seen: Callable[[], Tensor] | None = None
    output_moment: Callable[[], Tensor] | None = None
    innovations: Callable[[], Tensor] | None = None
    lift: Callable[[], Tensor] | None = None


@final
class Problem:
    """One layer to approximate: minimise ``½ tr(G (W - M) A (W - M)ᵀ)`` over forms of ``M``.

    The matrices may be given as functions, because they are large and not always needed. For
    example, if a method's state is stored already, nobody needs the moments.

    Attributes:
        piece: the dense layer's shapes.
        weight: W, shape (groups, out, in); with a table, that of its small matrix.
        a: damped second moment of the inputs, (groups, in, in).
        g: damped second moment of the output gradients, (groups, out, out).
        g_scale: the factor, if ``G`` is a multiple of the identity; else None.
        dtype: of the layer's own weight. States are kept in float32 unless this is more precise.
        title: names everything that states depend on, except the method; empty if they are not
            kept.
        table: what the layer is in front of the small matrix, if it is a table; else None.
        narrowed: whether channels were removed from the layer. It may be narrowed to many widths.

    A narrowed problem is also given what others know of it already, in place of what follows from
    the matrices: see ``Known``.
    """

    def __init__(
        self,
        piece: Piece,
        weight: Float64[Tensor, "groups out in"] | Callable[[], Tensor],
        a: Float64[Tensor, "groups in in"] | Callable[[], Tensor],
        g: Float64[Tensor, "groups out out"] | Callable[[], Tensor],
        *,
        g_scale: float | None = None,
        dtype: torch.dtype = torch.float64,
        title: str = "",
        table: Table | None = None,
        narrowed: bool = False,
        known: Known | None = None,
    ) -> None:
        self.piece, self.g_scale, self.dtype = piece, g_scale, dtype
        self.title, self.table, self.narrowed = title, table, narrowed
        self._weight, self._a, self._g = weight, a, g
        self._known = known or Known()

    @cached_property
    def weight(self) -> Float64[Tensor, "groups out in"]:
        return self._weight() if callable(self._weight) else self._weight

    @cached_property
    def a(self) -> Float64[Tensor, "groups in in"]:
        return self._a() if callable(self._a) else self._a

    @cached_property
    def g(self) -> Float64[Tensor, "groups out out"]:
        return self._g() if callable(self._g) else self._g

    @cached_property
    def seen(self) -> Float64[Tensor, "groups out in"]:
        """``W A``, which nearly every decomposition begins with; O(out·in²)."""
        make = self._known.seen
        return make() if make else self.weight @ self.a

    @cached_property
    def output_moment(self) -> Float64[Tensor, "groups out out"]:
        """``W A Wᵀ``, the second moment of what the weight gives."""
        make = self._known.output_moment
        return make() if make else self.seen @ self.weight.mT

    @cached_property
    def innovations(self) -> Float64[Tensor, "groups out in"]:
        """``W F`` with ``F Fᵀ = A``: the weight for inputs that have nothing in common."""
        make = self._known.innovations
        return make() if make else self.weight @ factor(self.a, check=False)

    @cached_property
    def lift(self) -> Float64[Tensor, "groups out out"]:
        """An ``F`` with ``F Fᵀ = G``."""
        make = self._known.lift
        return make() if make else factor(self.g, check=False)

    def spread(self, right: Float[Tensor, "groups rank _"]) -> Float[Tensor, "groups rank in"]:
        """A factor of ``weight`` as one of the layer: the same, but before a table's small matrix.

        Every method that factors tables passes the factor through this that reads the inputs.
        """
        return right if self.table is None else self.table.spread(right)


def problem_of(
    layer: nn.Module,
    name: str,
    moments: Moments,
    damping: float = DAMPING,
    shrinkage: Shrinkage | None = None,
) -> Problem:
    """The problem of a layer: its weight and damped ``A`` and ``G``, in float64 on its device.

    With a shrinkage (see ``shrinkage_of``), the moments are shrunk before they are damped. A ``G``
    that is a multiple of the identity needs neither. The
    numbers are checked here, so methods do not check them again.
    """
    stored, scale = weight_of(layer), moments.g_scale(name)
    dtype, device, piece = stored.dtype, stored.device, moments.specs[name].piece
    what = f"layer {name!r}: its weight"
    table = None
    if piece.table:
        least = max(damping, LEAST_FREQUENCY)
        table = Table(admissible(stored, what), moments.mean(name)[0], least)

    def a() -> Tensor:
        found = moments.loss_a(name) if shrinkage is None else shrunk_a(moments, name, shrinkage)
        seen = regular(found.to(device), damping)
        return seen if table is None else table.moment(seen)

    def g() -> Tensor:
        if scale is not None:
            return moments.g(name).to(device)
        found = moments.g(name) if shrinkage is None else shrunk_g(moments, name, shrinkage)
        return regular(found.to(device), damping)

    shrunk = "" if shrinkage is None else f" {shrinkage!r}"
    title = f"{name} damping {damping!r}{shrunk} {str(dtype).removeprefix('torch.')} {device}"
    weight = admissible_stack(as_matrix(layer), what) if table is None else table.matrix
    return Problem(piece, weight, a, g, g_scale=scale, dtype=dtype, title=title, table=table)


def regular(
    moment: Float64[Tensor, "groups n n"], damping: float = DAMPING
) -> Float64[Tensor, "groups n n"]:
    """A moment from sums of float32 products, damped so that its root and inverse exist."""
    return damped(moment, damping, _NOISE)

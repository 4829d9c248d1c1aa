"""The group lasso, reduced to penalised columns and as few rows as possible.

Unpenalised columns ``u`` are eliminated by a Schur complement, ``M_u = (B_u - M_p R_pu) R_uu⁺``.
A rotation of the rows does not change the penalty. So a ``B`` with more rows than columns is
replaced by its triangular factor, and the solution is rotated back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from eckart.errors import InputError
from eckart.linalg.group_sparsity.checks import (
    Moments,
    count_groups,
    read_consumers,
    read_weights,
)

_NOISE = 1e-6  # negative eigenvalues down to this, relative to the largest entry, are clipped


@dataclass(frozen=True)
class Consumer:
    """One quadratic over penalised columns, and the way back to the whole matrix.

    Attributes:
        gram: reduced ``R``, damped by the rounding of its own products; positive definite.
        cross: reduced ``B``, with no more rows than columns.
        owner: the group of each column.
        penalised: index of each column in the given matrix.
        free: columns of the given matrix that were eliminated.
        lift: ``R_pu R_uu⁺``, shape (d, free).
        offset: ``B_u R_uu⁺``, shape (h, free): the free columns at ``M = 0``.
        rotation: orthonormal columns that rotate the rows back, shape (h, r); None if there was no
            rotation.
        constant: the objective at ``M = 0``.
    """

    gram: Float64[Tensor, "d d"]
    cross: Float64[Tensor, "r d"]
    owner: Int64[Tensor, " d"]
    penalised: Int64[Tensor, " d"]
    free: Int64[Tensor, " u"]
    lift: Float64[Tensor, "d u"]
    offset: Float64[Tensor, "h u"]
    rotation: Float64[Tensor, "h r"] | None
    constant: float

    def restore(
        self, columns: Int64[Tensor, " k"], solved: Float64[Tensor, "r k"]
    ) -> Float64[Tensor, "h in"]:
        """The whole matrix from some penalised columns; the other ones are exactly zero."""
        part = solved if self.rotation is None else self.rotation @ solved
        width = len(self.penalised) + len(self.free)
        whole = part.new_zeros(len(self.offset), width)
        whole[:, self.penalised[columns]] = part
        whole[:, self.free] = self.offset - part @ self.lift[columns]
        return whole


@dataclass(frozen=True)
class Problem:
    """All consumers, with the weights of the groups they share."""

    consumers: tuple[Consumer, ...]
    weights: Float64[Tensor, " groups"]

    def group_squares(
        self, matrices: Sequence[Float64[Tensor, "_ _"]]
    ) -> Float64[Tensor, " groups"]:
        """Squared norm of each group of columns, over all consumers."""
        return sum_groups([m.square().sum(0) for m in matrices], self.consumers, len(self.weights))

    @property
    def alpha_max(self) -> float:
        """The least penalty at which the solution is zero."""
        norms = self.group_squares([c.cross for c in self.consumers]).sqrt()
        return float((norms / self.weights).max()) if len(norms) else 0.0


def sum_groups(
    values: Sequence[Float64[Tensor, " _"]], consumers: Sequence[Consumer], count: int
) -> Float64[Tensor, " groups"]:
    """Sum one value per column over the columns of each group and over consumers."""
    total = values[0].new_zeros(count)
    for value, consumer in zip(values, consumers, strict=True):
        total.index_add_(0, consumer.owner, value)
    return total


def prepare(
    gram: Tensor | Sequence[Tensor],
    cross: Tensor | Sequence[Tensor],
    groups: Sequence[Any] | None = None,
    unpenalised: Sequence[Any] = (),
    weights: Tensor | Sequence[float] | None = None,
) -> Problem:
    """Check the arguments, eliminate free columns, rotate rows; O(d³ + h d²)."""
    read = read_consumers(gram, cross, groups, unpenalised)
    count = count_groups(read)
    placed = torch.zeros(count, dtype=torch.bool)
    for moments in read:
        placed[moments.owner[moments.owner >= 0].cpu()] = True
    if not placed.all():
        raise InputError(f"group {int((~placed).nonzero()[0])} has no column in any consumer")
    scale = read_weights(weights, count).to(read[0].gram.device)
    return Problem(tuple(_reduced(moments) for moments in read), scale)


def _reduced(moments: Moments) -> Consumer:
    """Eliminate the free columns of one consumer, damp and rotate it."""
    kept, free = ((moments.owner >= 0).nonzero()[:, 0], (moments.owner < 0).nonzero()[:, 0])
    gram, cross = moments.gram, moments.cross
    lift, offset, constant = gram.new_zeros(len(kept), 0), cross.new_zeros(len(cross), 0), 0.0
    if len(free):
        inverse = pseudo_inverse(gram[free][:, free])
        lift, offset = gram[kept][:, free] @ inverse, cross[:, free] @ inverse
        constant = -0.5 * float((offset * cross[:, free]).sum())
        given = gram
        gram = gram[kept][:, kept] - lift @ gram[free][:, kept]
        cross = cross[:, kept] - cross[:, free] @ lift.mT
        gram = positive((gram + gram.mT) / 2, given)
    else:
        gram = positive(gram, gram)
    rotation = None
    if len(cross) > cross.shape[1]:
        rotation, cross = torch.linalg.qr(cross)
    owner = moments.owner[kept]
    return Consumer(gram, cross, owner, kept, free, lift, offset, rotation, constant)


def positive(gram: Float64[Tensor, "d d"], given: Float64[Tensor, "n n"]) -> Float64[Tensor, "d d"]:
    """Damp a Gram matrix by its rounding; if needed, clip small negative eigenvalues.

    Args:
        gram: ``given`` without its free columns, which were eliminated.
        given: sets the scale of rounding; sums of float32 products are off by up to 1e-6 of it.

    Raises:
        InputError: an eigenvalue is below -1e-6 times the largest entry, so this is not a second
            moment.
    """
    if not len(gram):
        return gram
    damping = _rounding(given)
    lifted = gram.clone()
    lifted.diagonal().add_(damping)
    if not torch.linalg.cholesky_ex(lifted)[1]:
        return lifted
    values, vectors = torch.linalg.eigh(gram)
    if values[0] < -_NOISE * given.diagonal().abs().max() - damping:
        raise InputError(
            f"gram is indefinite: eigenvalues from {float(values[0]):.3g} to "
            f"{float(values[-1]):.3g}; give a second moment, or damp it"
        )
    lifted = vectors * values.clamp_min(0) @ vectors.mT
    lifted.diagonal().add_(2 * damping)
    symmetric: Tensor = (lifted + lifted.mT) / 2
    return symmetric


def pseudo_inverse(gram: Float64[Tensor, "d d"]) -> Float64[Tensor, "d d"]:
    """``R⁺`` by eigenvalues, without those that rounding cannot tell from zero."""
    inverse: Tensor = torch.linalg.pinv(gram, hermitian=True)
    return inverse


def _rounding(gram: Float64[Tensor, "d d"]) -> float:
    """The absolute rounding error of eigenvalues; tiny for an all-zero matrix."""
    if not len(gram):
        return 0.0
    largest = float(gram.diagonal().abs().max())
    return max(4 * len(gram) * torch.finfo(gram.dtype).eps * largest, 1e-300)

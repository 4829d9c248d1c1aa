"""A table, such as ``nn.Embedding``, as a small matrix behind an orthonormal table.

With ``E`` the rows of a table and ``EᵀE = V S² Vᵀ``, the matrix of the layer is
``W = Eᵀ = (V S) Qᵀ`` where ``Q = E V S⁻¹`` is a table too, with orthonormal columns. Nothing that
any method does with ``W`` and ``A`` leaves the rows of ``Qᵀ``, so it is done with ``V S`` and
``Qᵀ A Q = S⁻¹ Vᵀ E[y yᵀ] V S⁻¹`` in their place. These are as large as one row squared, while ``A``
itself is as large as the vocabulary squared. A multiple of the identity that is added to ``Qᵀ A Q``
is one that is added to ``A``: the least frequency of every row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

_CHUNK = 2**14  # rows that are in float64 at once
_RANK = 1e-13  # of the largest squared singular value; less is rounding


@final
@dataclass(frozen=True)
class Table:
    """A table as ``(V S) Qᵀ``.

    Attributes:
        rows: of the table, shape (in, out), in its own dtype.
        counted: how often each row is looked up, relative to all, shape (in,); None if all are
            alike.
        least: what is added to the frequency of every row, relative to the mean frequency.
    """

    rows: Tensor
    counted: Float64[Tensor, " in"] | None = None
    least: float = 0.0

    @property
    def frequencies(self) -> Float64[Tensor, " in"]:
        """The diagonal of ``A``."""
        if self.counted is None:
            return torch.full_like(self.rows[:, 0], 1.0, dtype=torch.float64)
        return self.counted.to(self.rows.device) + self.least / len(self.rows)

    @cached_property
    def _directions(self) -> tuple[Tensor, Tensor]:
        """S and V, without the directions that no row has."""
        width = self.rows.shape[1]
        gram = torch.zeros(width, width, dtype=torch.float64, device=self.rows.device)
        for part in self.rows.split(_CHUNK):
            exact = part.double()
            gram += exact.T @ exact
        values, vectors = torch.linalg.eigh(gram)
        some = values > _RANK * values[-1].clamp_min(1e-300)
        some[-1] = True  # of a table of zeros, one of its directions
        return values[some].clamp_min(1e-300).sqrt(), vectors[:, some]

    def matrix(self) -> Float64[Tensor, "1 out k"]:
        """``V S``."""
        values, vectors = self._directions
        return (vectors * values)[None]

    def moment(self, seen: Float64[Tensor, "1 out out"]) -> Float64[Tensor, "1 k k"]:
        """``Qᵀ A Q``, from the moment ``E[y yᵀ]`` of the rows that were looked up."""
        values, vectors = self._directions
        onto = vectors / values
        found = onto.T @ seen @ onto
        found.diagonal(dim1=-2, dim2=-1).add_(self.least / len(self.rows))
        return (found + found.mT) / 2

    def spread(self, right: Float64[Tensor, "1 rank k"]) -> Float64[Tensor, "1 rank in"]:
        """A factor of ``V S`` as one of ``W``: its product with ``Qᵀ``; O(rank · in · out)."""
        values, vectors = self._directions
        onto = (vectors / values) @ right[0].double().T
        return torch.cat([part.double() @ onto for part in self.rows.split(_CHUNK)]).T[None]

"""How far sums over batches scatter, from which it follows how noisy a moment is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eckart.records.reading import Count, read


@dataclass(frozen=True)
class Scatter:
    """Sums over batches, which add up over machines and runs like the moments themselves.

    A batch with ``n`` rows (for gradients: outputs) adds ``S = Σ x xᵀ`` to a moment. Rows of one
    batch may depend on one another, such as the patches of an image or the tokens of a text.
    Batches do not, so they are what the noise is estimated from.

    Attributes:
        batches: number of batches with a row.
        squares: sum of ``‖S‖² / n`` over them, in the Frobenius norm.
        diagonal: the part of it that is on the diagonals.
    """

    batches: Count
    squares: float
    diagonal: float

    @classmethod
    def of(cls, grams: Mapping[str, tuple[Tensor, int]]) -> dict[str, Scatter]:
        """What one batch adds to each sum: the gram, and its number of rows; O(entries).

        The numbers are fetched together, so that a GPU is waited for once and not per layer.
        """
        numbers = fetched([squares for gram, _ in grams.values() for squares in _squares(gram)])
        pairs = zip(grams.items(), numbers[::2], numbers[1::2], strict=True)
        return {
            name: cls(1, whole / count, diagonal / count) if count > 0 else cls(0, 0.0, 0.0)
            for (name, (_, count)), whole, diagonal in pairs
        }

    def __add__(self, other: Scatter) -> Scatter:
        """The sums over both parts of the data."""
        return Scatter(
            self.batches + other.batches,
            self.squares + other.squares,
            self.diagonal + other.diagonal,
        )

    def variance(self, total: Tensor, count: int) -> tuple[float, float] | None:
        """Mean squared distance of ``total / count`` from the moment of all data.

        The first number is that of all entries, the second that of the diagonal. They are unbiased
        if batches are drawn at random and the variance of a batch's mean is inverse to its number
        of rows. None if there are fewer than two batches.
        """
        if self.batches < 2 or count < 1:
            return None
        whole, diagonal = map(float, _squares(total))
        between = (self.squares - whole / count, self.diagonal - diagonal / count)
        entries, own = (max(sums, 0.0) / (self.batches - 1) / count for sums in between)
        return entries, own

    def as_json(self) -> list[Any]:
        """The numbers in order."""
        return [self.batches, self.squares, self.diagonal]

    @classmethod
    def from_json(cls, data: Any) -> Scatter:
        """The inverse of ``as_json``."""
        batches, squares, diagonal = data
        return read(cls, {"batches": batches, "squares": squares, "diagonal": diagonal})

    def contradiction(self) -> str | None:
        """Sums of squares are not negative, and a part is no more than the whole."""
        fits = 0 <= self.diagonal <= self.squares * (1 + 1e-9)
        return None if fits else f"it cannot have these sums: {self}"


def _squares(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Squared Frobenius norms of a stack of matrices and of its diagonals."""
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    whole, own = (torch.linalg.vector_norm(x, dtype=torch.float64) for x in (gram, diagonal))
    return whole.square(), own.square()


def fetched(values: Sequence[Tensor]) -> list[float]:
    """The numbers in some tensors of one number each: one transfer per device."""
    found: dict[int, float] = {}
    for device in {value.device for value in values}:
        places = [place for place, value in enumerate(values) if value.device == device]
        stacked = torch.stack([values[place].double() for place in places])
        found |= dict(zip(places, stacked.tolist(), strict=True))
    return [found[place] for place in range(len(values))]


def added_scatters(*parts: Mapping[str, Scatter]) -> dict[str, Scatter]:
    """The scatters over all parts of the data, by the name of the sum."""
    total: dict[str, Scatter] = {}
    for part in parts:
        for name, scatter in part.items():
            total[name] = total[name] + scatter if name in total else scatter
    return total


def with_copies(scatters: Mapping[str, Scatter], copies: Mapping[str, str]) -> dict[str, Scatter]:
    """The scatters, and under each new name that of the sum that it is a copy of."""
    new = {name: scatters[of] for name, of in copies.items() if of in scatters}
    return {**scatters, **new}

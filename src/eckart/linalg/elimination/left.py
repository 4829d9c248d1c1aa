"""What is left of one reader while units are removed from it, and a small part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from eckart.linalg.elimination.refitting import Factored, Reader

_CUT = 0.8  # cut removed columns away once at most this share of the columns is left
_SMALL = 512  # columns that are never cut away, because it would not pay
_SURE = 1e-10  # the least square of a pivot, beside the largest, at which losses are summed up


@dataclass
class Left:
    """One reader while units are removed: ``P`` and ``(F M)ᵀ`` of what is left.

    Attributes:
        inverse: P, shape (columns, columns).
        targets: (F M)ᵀ, shape (columns, out): the columns of a unit are read as rows, in one go.
        alike: units of one length, shape (m,), with their columns, shape (m, length).
        units: number of units at the start.
        sure: whether P has enough digits to sum up what each removal adds.
    """

    inverse: Float64[Tensor, "columns columns"]
    targets: Float64[Tensor, "columns out"]
    alike: list[tuple[Tensor, Tensor]]
    units: int
    sure: bool = True

    def __post_init__(self) -> None:
        self._stays = torch.ones(len(self.inverse), dtype=torch.bool, device=self.inverse.device)

    @classmethod
    def of(cls, reader: Reader) -> Left:
        """The whole reader; O(in³) multiplications."""
        targets = reader.lifted.mT.clone(memory_format=torch.contiguous_format)
        alike = _alike(reader.columns, range(len(reader.columns)))
        lower, info = torch.linalg.cholesky_ex(reader.a)
        if bool(info):
            inverse = torch.linalg.pinv(reader.a, hermitian=True)
            return cls(inverse, targets, alike, len(reader.columns), sure=False)
        inverse = torch.cholesky_inverse(torch.as_tensor(lower))
        return cls(inverse, targets, alike, len(reader.columns), _sure(lower))

    @classmethod
    def behind(cls, reader: Reader, whole: Factored, kept: Sequence[int]) -> Left:
        """What is left when the units behind these are removed; O(kept³) multiplications."""
        width = int(whole.lengths[len(kept)])
        lower = whole.lower[:width, :width]
        fitted = torch.linalg.solve_triangular(
            lower, whole.innovations[:, :width], upper=False, left=False
        )
        places = torch.empty(len(whole.at), dtype=torch.int64, device=whole.at.device)
        places[whole.at] = torch.arange(len(whole.at), device=whole.at.device)
        alike = _alike([places[columns] for columns in reader.columns], kept)
        inverse = torch.cholesky_inverse(lower)
        return cls(inverse, fitted.mT.contiguous(), alike, len(reader.columns), _sure(lower))

    def pool(self, units: Int64[Tensor, " pool"]) -> Pool:
        """The same for some of the units alone: what is left of them depends on nothing else."""
        among = ((torch.isin(of, units), of, at) for of, at in self.alike)
        chosen = [(goes, of, at) for goes, of, at in among if goes.any()]
        most = max((at.shape[1] for _, _, at in chosen), default=1)
        slots = torch.full((self.units, most), -1, device=self.inverse.device)
        for goes, of, at in chosen:
            slots[of[goes].to(slots.device), : at.shape[1]] = at[goes]
        slots = slots[units.to(slots.device)]
        absent, columns = (slots < 0).flatten(), slots.flatten().clamp_min(0)
        inverse, targets = self.inverse[columns[:, None], columns], self.targets[columns]
        if absent.any():
            inverse[absent], inverse[:, absent], targets[absent] = 0.0, 0.0, 0.0
            inverse.diagonal()[absent] = 1.0
        return Pool(inverse, targets, most)

    def added(self) -> Float64[Tensor, " units"]:
        """Loss that removing each unit would add; zero for units that are gone or not read."""
        result = self.inverse.new_zeros(self.units)
        for units, at in self.alike:
            spread, target = self.inverse[at[:, :, None], at[:, None]], self.targets[at]
            result[units.to(result.device)] = _cost(spread, target)
        return result

    def remove(self, leaving: Sequence[int]) -> None:
        """Remove units and refit the others."""
        wanted = torch.tensor(leaving)
        among = [(units, at, torch.isin(units, wanted)) for units, at in self.alike]
        self.alike = [(units[~goes], at[~goes]) for units, at, goes in among]
        at = torch.cat([at[goes].flatten() for _, at, goes in among] or [torch.arange(0)])
        if len(at) == 0:
            return
        _remove(self.inverse, self.targets, at)
        self._stays[at] = False
        if len(self._stays) > _SMALL and self._stays.sum() <= _CUT * len(self._stays):
            self._cut()

    def _cut(self) -> None:
        """Drop the columns that are gone."""
        left = self._stays.nonzero().flatten()
        self.inverse, self.targets = self.inverse[left[:, None], left], self.targets[left]
        places = self._stays.cumsum(0) - 1  # meaningless for removed columns
        self.alike = [(units, places[at]) for units, at in self.alike]
        self._stays = self._stays[left]


@dataclass
class Pool:
    """Some units of a reader, of equal length: shorter ones have columns that nothing reads.

    Attributes:
        inverse: their block of P, unit by unit.
        targets: their rows of (F M)ᵀ.
        length: columns of each.
    """

    inverse: Float64[Tensor, "columns columns"]
    targets: Float64[Tensor, "columns out"]
    length: int

    def added(self) -> Float64[Tensor, " pool"]:
        """Loss that removing each unit would add; zero for those that are not read."""
        if self.length == 1:
            return 0.5 * self.targets.square().sum(1) / self.inverse.diagonal()
        by_unit = self.targets.unflatten(0, (-1, self.length))
        blocks = self.inverse.unflatten(0, (-1, self.length)).unflatten(2, (-1, self.length))
        return _cost(blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1), by_unit)

    def remove(self, place: int) -> None:
        """Remove the unit at this place and refit the others; it is not to be weighed again."""
        if self.length == 1:
            row, target = self.inverse[place].clone(), self.targets[place].clone()
            share = -1 / float(row[place])
            self.targets.addr_(row, target, alpha=share)
            self.inverse.addr_(row, row, alpha=share)
            self.inverse[place, place] = 1.0
            return
        at = torch.arange(place * self.length, (place + 1) * self.length)
        _remove(self.inverse, self.targets, at)
        self.inverse[at], self.inverse[:, at] = 0.0, 0.0
        self.inverse.diagonal()[at] = 1.0


def _cost(
    spread: Float64[Tensor, "m length length"], target: Float64[Tensor, "m length out"]
) -> Float64[Tensor, " m"]:
    """``½ tr(C P⁻¹)`` of the blocks of some units, with ``C = T Tᵀ``."""
    if spread.shape[1] == 1:
        return 0.5 * target.square().sum((1, 2)) / spread[:, 0, 0]
    solved: Tensor = torch.linalg.solve(spread, target @ target.mT)
    return 0.5 * solved.diagonal(dim1=1, dim2=2).sum(1)


def _remove(inverse: Tensor, targets: Tensor, at: Int64[Tensor, " columns"]) -> None:
    """Take some columns out of both, in place."""
    rows = inverse[at]
    gain = torch.linalg.solve(rows[:, at], rows).mT
    targets.addmm_(gain, targets[at], alpha=-1)
    inverse.addmm_(gain, rows, alpha=-1)


def _alike(columns: Sequence[Tensor], units: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Units of one length, with their columns; those without columns are left out."""
    chosen = torch.tensor(list(units))
    lengths = torch.tensor([len(columns[unit]) for unit in chosen.tolist()])
    groups = (chosen[lengths == n] for n in sorted({*lengths.tolist()} - {0}))
    return [(of, torch.stack([columns[unit] for unit in of.tolist()])) for of in groups]


def _sure(lower: Tensor) -> bool:
    """Whether the pivots are near enough to each other."""
    pivots = lower.diagonal().square()
    return bool(pivots.min() > _SURE * pivots.max())

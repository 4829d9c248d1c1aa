"""Choose columns of a matrix to keep so that its output can be reconstructed from them.

For a kept set S the best matrix is the least-squares refit ``M = W A[:, S] A[S, S]⁻¹``, whatever G
is. The remaining loss is ``½ tr(G W (A - A[:, S] A[S, S]⁻¹ A[S, :]) Wᵀ)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from eckart.errors import InputError
from eckart.linalg.admissible import admissible_stack

_SHARE = 16  # of the units that are left, one in this many goes before all are weighed again
_CUT = 0.8  # cut removed columns away once at most this share of the columns is left
_SMALL = 512  # columns that are never cut away, because it would not pay


@dataclass(frozen=True)
class Reader:
    """One matrix that reads the units: ``loss(M) = ½ tr(G (W - M) A (W - M)ᵀ)``.

    Attributes:
        a: damped second moment of its inputs, shape (in, in).
        lifted: ``F W`` with ``Fᵀ F = G``, shape (out, in).
        columns: columns of each unit; columns that belong to no unit are always kept.
    """

    a: Float64[Tensor, "in in"]
    lifted: Float64[Tensor, "out in"]
    columns: tuple[Int64[Tensor, " _columns"], ...]

    def __post_init__(self) -> None:
        for name in ("a", "lifted"):
            object.__setattr__(self, name, admissible_stack(getattr(self, name), name))


def refit(
    weight: Float64[Tensor, "out in"],
    a: Float64[Tensor, "in in"],
    support: Int64[Tensor, " kept"],
    *,
    check: bool = True,
) -> Float64[Tensor, "out kept"]:
    """The kept columns of the least-squares refit, ``W A[:, S] A[S, S]⁻¹``; O(in·kept²).

    With ``check=False`` the caller has checked the input.
    """
    if check:
        weight, a = admissible_stack(weight, "weight"), admissible_stack(a, "a")
    if len(support) == a.shape[0]:
        return weight[:, support]
    lower, info = torch.linalg.cholesky_ex(a[support][:, support])
    target = a[support] @ weight.mT
    if bool(info):
        solved: Tensor = torch.linalg.pinv(a[support][:, support], hermitian=True) @ target
    else:
        solved = torch.cholesky_solve(target, lower)
    return solved.mT


def nested_removal_losses(
    readers: Sequence[Reader], order: Sequence[int]
) -> Float64[Tensor, " sizes"]:
    """Loss of keeping the first k units of an order and refitting, for every k from 0.

    Permute A to this order and factor ``A = L Lᵀ``: the inputs are ``L z`` with white innovations
    z. The innovations from k on are what the first k columns cannot predict, so the loss is half
    the squared norm of the later columns of ``G^½ W L``. One factorisation serves all k.

    Returns:
        Shape (units + 1,), not increasing, zero at the end.

    Cost: O(in³/3 + out in²) multiplications per reader.
    """
    _check_some(readers)
    losses = torch.zeros(len(order) + 1, dtype=torch.float64, device=readers[0].a.device)
    for reader in readers:
        places = [reader.columns[unit] for unit in order]
        free = _outside(reader)
        permuted = torch.cat([free, *places])
        lower = _lower(reader.a[permuted][:, permuted])
        energy = (reader.lifted[:, permuted] @ lower).square().sum(0)
        tails = torch.cat([energy.flip(0).cumsum(0).flip(0), energy.new_zeros(1)])
        lengths = torch.tensor([len(free), *(len(place) for place in places)])
        losses += 0.5 * tails[lengths.cumsum(0).to(tails.device)]
    return losses


def backward_elimination(readers: Sequence[Reader]) -> list[int]:
    """Order the units from the most important to the first one to remove.

    The search starts from the full set and is greedy: it removes the unit that adds the least loss
    when all others are refitted. With ``P = A[S, S]⁻¹`` and ``C = Mᵀ G M`` of the refit M, removing
    the columns j adds ``½ tr(C[j, j] P[j, j]⁻¹)``.

    All units are weighed only now and then. In between, up to a sixteenth of them goes one at a
    time from a small pool, which holds those that weighed least; then matrix products update the
    rest for all of them at once. A pool is left as soon as a unit outside weighed less.

    Returns:
        All units, most important first.

    Cost: O(4 in³/3 + out in²/2) multiplications per reader, of which in³ are to invert A.

    Source: Hassibi and Stork 1993 (optimal brain surgeon): second-order pruning, here of layer
        outputs, for blocks of columns and with G.
    """
    _check_some(readers)
    states = [_Elimination.of(reader) for reader in readers]
    left, gone = torch.arange(len(readers[0].columns)), list[int]()
    while len(left):
        leaving = _leaving(states, left)
        for state in states:
            state.remove(leaving)
        left = left[~torch.isin(left, torch.tensor(leaving))]
        gone += leaving
    return gone[::-1]


def _leaving(states: Sequence[_Elimination], left: Int64[Tensor, " left"]) -> list[int]:
    """The units that go next, in this order."""
    added = _added(states, left)
    order = added.argsort(stable=True)
    most = max(1, len(left) // _SHARE)
    pool, outside = left[order[: 2 * most]], added[order[2 * most :]]
    leaving = [int(pool[0])]
    small = [state.pool(pool) for state in states] if most > 1 else []
    while len(leaving) < most:
        for state in small:
            state.remove(leaving[-1:])
        pool = pool[pool != leaving[-1]]
        added = _added(small, pool)
        if added.min() > outside.min():
            break
        leaving.append(int(pool[added.argmin()]))
    return leaving


def _added(
    states: Sequence[_Elimination], units: Int64[Tensor, " units"]
) -> Float64[Tensor, " units"]:
    """The loss that removing each of these units would add, over all readers."""
    total = torch.stack([state.added() for state in states]).sum(0)
    return total[units.to(total.device)].cpu()


def _check_some(readers: Sequence[Reader]) -> None:
    if not readers:
        raise InputError("no readers: at least one matrix must read the units")


class _Elimination:
    """One reader while units are removed: ``P`` and ``(F M)ᵀ`` of what is left.

    Attributes:
        inverse: P, shape (columns, columns).
        targets: (F M)ᵀ, shape (columns, out): the columns of a unit are read as rows, in one go.
        alike: units of one length, shape (m,), with their columns, shape (m, length).
        units: number of units at the start.
    """

    def __init__(
        self, inverse: Tensor, targets: Tensor, alike: list[tuple[Tensor, Tensor]], units: int
    ) -> None:
        self.inverse, self.targets, self.alike, self.units = inverse, targets, alike, units
        self.stays = torch.ones(len(inverse), dtype=torch.bool, device=inverse.device)

    @classmethod
    def of(cls, reader: Reader) -> _Elimination:
        lengths = torch.tensor([len(at) for at in reader.columns])
        alike = [
            (units, torch.stack([reader.columns[unit] for unit in units.tolist()]))
            for units in ((lengths == n).nonzero().flatten() for n in {*lengths.tolist()} - {0})
        ]
        targets = reader.lifted.mT.clone(memory_format=torch.contiguous_format)
        return cls(_inverse(reader.a), targets, alike, len(lengths))

    def pool(self, units: Int64[Tensor, " pool"]) -> _Elimination:
        """The same for some of the units alone: what is left of them depends on nothing else."""
        chosen = [(of[wanted], at[wanted]) for of, at, wanted in self._among(units)]
        columns = torch.cat([at.flatten() for _, at in chosen]) if chosen else torch.arange(0)
        places = torch.empty(len(self.inverse), dtype=torch.int64, device=columns.device)
        places[columns] = torch.arange(len(columns), device=columns.device)
        alike = [(of, places[at]) for of, at in chosen]
        inverse = self.inverse[columns[:, None], columns]
        return _Elimination(inverse, self.targets[columns], alike, self.units)

    def added(self) -> Float64[Tensor, " units"]:
        """Loss that removing each unit would add; zero for units that are gone or not read."""
        result = self.inverse.new_zeros(self.units)
        for units, at in self.alike:
            spread = self.inverse[at[:, :, None], at[:, None]]
            target = self.targets[at]
            cost = torch.linalg.solve(spread, target @ target.mT).diagonal(dim1=1, dim2=2).sum(1)
            result[units.to(result.device)] = 0.5 * cost
        return result

    def remove(self, leaving: Sequence[int]) -> None:
        """Remove units and refit the others."""
        among = self._among(torch.tensor(leaving))
        self.alike = [(units[~goes], at[~goes]) for units, at, goes in among]
        at = torch.cat([at[goes].flatten() for _, at, goes in among] or [torch.arange(0)])
        if len(at) == 0:
            return
        rows = self.inverse[at]
        gain = torch.linalg.solve(rows[:, at], rows).mT
        self.targets.addmm_(gain, self.targets[at], alpha=-1)
        self.inverse.addmm_(gain, rows, alpha=-1)
        self.stays[at] = False
        if len(self.stays) > _SMALL and self.stays.sum() <= _CUT * len(self.stays):
            self._cut()

    def _among(self, wanted: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Units of one length, their columns, and which of them are among those wanted."""
        return [(units, at, torch.isin(units, wanted)) for units, at in self.alike]

    def _cut(self) -> None:
        """Drop the columns that are gone."""
        stays = self.stays
        self.inverse, self.targets = self.inverse[stays][:, stays], self.targets[stays]
        places = stays.cumsum(0) - 1  # meaningless for removed columns
        self.alike = [(units, places[at]) for units, at in self.alike]
        self.stays = stays[stays]


def _outside(reader: Reader) -> Int64[Tensor, " columns"]:
    """Columns that belong to no unit."""
    free = torch.ones(reader.a.shape[0], dtype=torch.bool, device=reader.a.device)
    free[torch.cat(reader.columns)] = False
    return free.nonzero().flatten()


def _lower(a: Float64[Tensor, "in in"]) -> Float64[Tensor, "in in"]:
    """A Cholesky factor; from a QR of the root of A if rounding made A indefinite."""
    lower, info = torch.linalg.cholesky_ex(a)
    if bool(info):
        values, vectors = torch.linalg.eigh(a)
        root = vectors * values.clamp_min(values[-1] * torch.finfo(a.dtype).eps).sqrt()
        lower = torch.linalg.qr(root.mT).R.mT
    return torch.as_tensor(lower)


def _inverse(a: Float64[Tensor, "in in"]) -> Float64[Tensor, "in in"]:
    lower, info = torch.linalg.cholesky_ex(a)
    if bool(info):
        return torch.as_tensor(torch.linalg.pinv(a, hermitian=True))
    return torch.cholesky_inverse(torch.as_tensor(lower))

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

_STEPS = 1024  # up to this number of units, one goes at a time; beyond it, several per update
_PENDING = 128  # most removed columns whose update is not yet multiplied out
_CUT = 0.9  # cut removed columns away once at most this share of the columns is left


@dataclass(frozen=True)
class Reader:
    """One matrix that reads the units: ``loss(M) = ½ tr(G (W - M) A (W - M)ᵀ)``.

    Attributes:
        a: damped second moment of its inputs, shape (in, in).
        pull: ``Wᵀ G W``, shape (in, in).
        columns: columns of each unit; columns that belong to no unit are always kept.
    """

    a: Float64[Tensor, "in in"]
    pull: Float64[Tensor, "in in"]
    columns: tuple[Int64[Tensor, " _columns"], ...]

    def __post_init__(self) -> None:
        for name in ("a", "pull"):
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

    Cost: O(in³) per reader.
    """
    _check_some(readers)
    losses = torch.zeros(len(order) + 1, dtype=torch.float64, device=readers[0].a.device)
    for reader in readers:
        places = [reader.columns[unit] for unit in order]
        free = _outside(reader)
        permuted = torch.cat([free, *places])
        lower = _lower(reader.a[permuted][:, permuted])
        energy = ((reader.pull[permuted][:, permuted] @ lower) * lower).sum(0).clamp_min(0)
        tails = torch.cat([energy.flip(0).cumsum(0).flip(0), energy.new_zeros(1)])
        lengths = torch.tensor([len(free), *(len(place) for place in places)])
        losses += 0.5 * tails[lengths.cumsum(0).to(tails.device)]
    return losses


def backward_elimination(readers: Sequence[Reader]) -> list[int]:
    """Order the units from the most important to the first one to remove.

    The search starts from the full set and is greedy: it removes the unit that adds the least loss
    when all others are refitted. With ``P = A[S, S]⁻¹`` and ``C = Mᵀ G M`` of the refit M, removing
    the columns j adds ``½ tr(C[j, j] P[j, j]⁻¹)``. Low-rank products update both.

    Returns:
        All units, most important first.

    Cost: O(in³) per reader.

    Source: Hassibi and Stork 1993 (optimal brain surgeon): second-order pruning, here of layer
        outputs, for blocks of columns and with G.
    """
    _check_some(readers)
    states = [_Elimination(reader) for reader in readers]
    units = len(readers[0].columns)
    alive, gone = list(range(units)), list[int]()
    batch = max(1, units // _STEPS)
    while alive:
        added = torch.stack([state.added(alive) for state in states]).sum(0)
        for unit in [alive[place] for place in added.argsort()[:batch].tolist()]:
            alive.remove(unit)
            gone.append(unit)
            for state in states:
                state.remove(unit)
    return gone[::-1]


def _check_some(readers: Sequence[Reader]) -> None:
    if not readers:
        raise InputError("no readers: at least one matrix must read the units")


class _Elimination:
    """The state of one reader while its units are removed.

    The updates of ``P`` and ``C`` are collected as factors and multiplied out a block at a time.
    This takes matrix products instead of one pass over memory per unit. Now and then the removed
    columns are cut away.
    """

    rows: Tensor
    half: Tensor
    gain: Tensor

    def __init__(self, reader: Reader) -> None:
        self.columns = list(reader.columns)
        self.inverse = _inverse(reader.a)
        self.pull = reader.pull.clone()
        self.stays = torch.ones(len(self.pull), dtype=torch.bool, device=self.pull.device)
        self._forget()

    def added(self, units: Sequence[int]) -> Float64[Tensor, " units"]:
        """Loss that removing each of these units would add."""
        lengths = {len(self.columns[unit]) for unit in units}
        result = self.pull.new_zeros(len(units))
        for length in lengths - {0}:
            which = [i for i, unit in enumerate(units) if len(self.columns[unit]) == length]
            at = torch.stack([self.columns[units[i]] for i in which])
            gain = self.gain.mT[at].mT
            turned = self.half[at] @ gain
            pull = self.pull[at[:, :, None], at[:, None]] - turned - turned.mT
            spread = self.inverse[at[:, :, None], at[:, None]] - self.rows[at] @ gain
            cost = torch.linalg.solve(spread, pull).diagonal(dim1=1, dim2=2).sum(1)
            result[torch.tensor(which, device=result.device)] = 0.5 * cost
        return result

    def remove(self, unit: int) -> None:
        """Remove a unit and refit the others."""
        at = self.columns[unit]
        if len(at) == 0:
            return
        rows = self.inverse[at] - self.rows[at] @ self.gain
        pull = self.pull[at] - self.half[at] @ self.gain - self.gain.mT[at] @ self.half.mT
        gain = torch.linalg.solve(rows[:, at], rows)
        half = pull.mT - 0.5 * gain.mT @ pull[:, at]
        self.rows = torch.cat([self.rows, rows.mT], 1)
        self.half = torch.cat([self.half, half], 1)
        self.gain = torch.cat([self.gain, gain])
        self.stays[at] = False
        if len(self.gain) >= _PENDING:
            self._flush()

    def _flush(self) -> None:
        self.inverse.addmm_(self.rows, self.gain, alpha=-1)
        self.pull.addmm_(self.half, self.gain, alpha=-1).addmm_(
            self.gain.mT, self.half.mT, alpha=-1
        )
        stays = self.stays
        if stays.sum() <= _CUT * len(stays):
            self.inverse, self.pull = self.inverse[stays][:, stays], self.pull[stays][:, stays]
            places = stays.cumsum(0) - 1  # meaningless for removed columns
            self.columns = [places[at] for at in self.columns]
            self.stays = stays[stays]
        self._forget()

    def _forget(self) -> None:
        width = len(self.pull)
        self.rows, self.half = self.pull.new_zeros(2, width, 0).unbind()
        self.gain = self.pull.new_zeros(0, width)


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

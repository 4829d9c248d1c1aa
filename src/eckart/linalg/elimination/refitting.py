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
    seen: Float64[Tensor, "out in"] | None = None,
    check: bool = True,
) -> Float64[Tensor, "out kept"]:
    """The kept columns of the least-squares refit, ``W A[:, S] A[S, S]⁻¹``.

    Who has ``W A`` gives it as ``seen``. With ``check=False`` the caller has checked the input.

    Cost: O(kept³/3 + out·kept²), and O(out·in·kept) without ``seen``.
    """
    if check:
        weight, a = admissible_stack(weight, "weight"), admissible_stack(a, "a")
    if len(support) == a.shape[0]:
        return weight[:, support]
    own = a[support[:, None], support]
    lower, info = torch.linalg.cholesky_ex(own)
    target = a[support] @ weight.mT if seen is None else seen[:, support].mT
    if bool(info):
        solved: Tensor = torch.linalg.pinv(own, hermitian=True) @ target
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
    check_some(readers)
    return torch.stack([factored(reader, order).losses for reader in readers]).sum(0)


@dataclass(frozen=True)
class Factored:
    """A reader with its columns in the order of some units, behind those of no unit.

    Attributes:
        at: the columns in this order.
        lengths: how many of them there are before the first unit, up to the first, and so on.
        lower: Cholesky factor of A in this order.
        innovations: ``F W L``, shape (out, in).
    """

    at: Int64[Tensor, " in"]
    lengths: Int64[Tensor, " sizes"]
    lower: Float64[Tensor, "in in"]
    innovations: Float64[Tensor, "out in"]

    @property
    def losses(self) -> Float64[Tensor, " sizes"]:
        """Loss of keeping the first k units."""
        energy = self.innovations.square().sum(0)
        tails = torch.cat([energy.flip(0).cumsum(0).flip(0), energy.new_zeros(1)])
        return 0.5 * tails[self.lengths.to(tails.device)]


def factored(reader: Reader, order: Sequence[int]) -> Factored:
    """One Cholesky factor serves all sizes of an order; O(in³/3 + out in²) multiplications."""
    places = [reader.columns[unit] for unit in order]
    free = outside(reader)
    at = torch.cat([free, *places])
    lower = _lower(reader.a[at[:, None], at])
    lengths = torch.tensor([len(free), *(len(place) for place in places)]).cumsum(0)
    return Factored(at, lengths, lower, reader.lifted[:, at] @ lower)


def check_some(readers: Sequence[Reader]) -> None:
    """Raise an error if nothing reads the units."""
    if not readers:
        raise InputError("no readers: at least one matrix must read the units")


def outside(reader: Reader) -> Int64[Tensor, " columns"]:
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

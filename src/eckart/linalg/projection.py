"""A weight as a sum of given rows: the best combination, what it explains, and how that changes.

With the rows ``V`` given, the best ``L`` in ``W ≈ L V`` is ``W A Vᵀ (V A Vᵀ)⁻¹``. The loss that is
left depends on ``V`` alone: ``½ tr(G W A Wᵀ) − ½ tr(Fᵀ Vᵀ (V A Vᵀ)⁻¹ V F)`` with ``F = A Wᵀ G^½``.
Methods whose rows are built from smaller factors search over these factors (variable projection).

Source: Golub & Pereyra 1973.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from eckart.errors import NonFiniteError
from eckart.linalg.whitening import factor, quadratic_loss

_RIDGES = {torch.float64: 1e-9, torch.float32: 3e-6}  # of each row's own square; until it is solved
_MORE, _MOST = 100.0, 1e8
_TINY = 1e-30
_MOST_WORK = 3e9  # rows · in², summed over the steps of a search: about half a second
_FEWEST_STEPS = 3


@dataclass(frozen=True)
class Explained:
    """What rows explain of a weight.

    Attributes:
        left: share of ``½ tr(G W A Wᵀ)`` that they leave.
        slope: its gradient in the rows.
    """

    left: float
    slope: Float[Tensor, "rows in"]


@dataclass(frozen=True)
class Combination:
    """A combination of rows, and its loss.

    Attributes:
        last: what the rows are multiplied by.
        loss: ``½ tr(G ΔW A ΔWᵀ)``.
    """

    last: Float64[Tensor, "out rows"]
    loss: float


@dataclass(frozen=True)
class Projection:
    """``½ tr(G ΔW A ΔWᵀ)`` for a weight ``L V`` with ``L`` at its best.

    Attributes:
        weight: W, shape (out, in).
        a: damped second moment of the inputs.
        g: damped second moment of the output gradients.
    """

    weight: Float64[Tensor, "out in"]
    a: Float64[Tensor, "in in"]
    g: Float64[Tensor, "out out"]

    def best(self, rows: Float64[Tensor, "rows in"]) -> Combination:
        """The best combination of rows; O(rows·in² + rows·out·in + rows³)."""
        weighted = rows @ self.a
        gram, onto = weighted @ rows.mT, weighted @ self.weight.mT
        last: Tensor = torch.cholesky_solve(onto, _lower(gram.clone())).mT
        lifted = self.g @ last
        gain = (lifted * onto.mT).sum() - 0.5 * (lifted * (last @ gram)).sum()
        return Combination(last, max(0.0, 0.5 * self.square - float(gain)))

    def loss(self, last: Float64[Tensor, "out rows"], rows: Float64[Tensor, "rows in"]) -> float:
        """The loss of any combination of rows."""
        return max(0.0, quadratic_loss(self.weight - last @ rows, self.a, self.g))

    @cached_property
    def lifted(self) -> Float64[Tensor, "in out"]:
        """``Wᵀ G^½``."""
        return self.weight.mT @ factor(self.g, check=False)

    @cached_property
    def seen(self) -> Float64[Tensor, "in out"]:
        """``A Wᵀ G^½``."""
        return self.a @ self.lifted

    @cached_property
    def square(self) -> float:
        """``tr(G W A Wᵀ)``, twice the loss of no rows."""
        return float((self.seen * self.lifted).sum())

    @cached_property
    def exact(self) -> Objective:
        """The objective in float64."""
        scale = max(float(self.a.diagonal().mean()), _TINY)
        return Objective(self.a / scale, self.seen / max(self.square, 1e-300) ** 0.5 / scale**0.5)

    @cached_property
    def quick(self) -> Objective:
        """The objective in float32, which takes half of the time."""
        return Objective(self.exact.a.float(), self.exact.seen.float())


@dataclass(frozen=True)
class Objective:
    """The share of a weight that rows leave unexplained.

    Attributes:
        a: second moment of the inputs, of mean diagonal 1.
        seen: ``A Wᵀ G^½``, scaled so that the shares of all possible rows are between 0 and 1.
    """

    a: Float[Tensor, "in in"]
    seen: Float[Tensor, "in out"]

    def __call__(self, rows: Float[Tensor, "rows in"]) -> Explained:
        """What these rows leave; O(rows·in² + rows·out·in + rows³)."""
        weighted = rows @ self.a
        lower = _lower(weighted @ rows.mT)
        onto = rows @ self.seen
        solved = torch.cholesky_solve(onto, lower)
        slope = solved @ (solved.mT @ weighted).sub_(self.seen.mT)
        return Explained(1.0 - float((solved * onto).sum()), 2 * slope)

    def kept(
        self, rows: Float[Tensor, "rows in"], count: int
    ) -> tuple[Int64[Tensor, " count"], Float[Tensor, " count"]]:
        """Drop rows one by one, each time the one that explains least beside the others.

        Returns:
            The indices of the rows that stay, ascending, and the weight of each in the outputs.
        """
        inverse = torch.cholesky_inverse(_lower(rows @ self.a @ rows.mT))
        solved = inverse @ (rows @ self.seen)
        stays = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        for _ in range(len(rows) - count):
            loss = solved.square().sum(1) / inverse.diagonal().clamp_min(_TINY)
            least = int(torch.where(stays, loss, torch.inf).argmin())
            stays[least] = False
            row, target = inverse[least].clone(), solved[least].clone()
            share = -1 / float(row[least])
            solved.addr_(row, target, alpha=share)
            inverse.addr_(row, row, alpha=share)
        at = stays.nonzero().flatten()
        return at, solved[at].norm(dim=1)


def affordable(rows: int, inputs: int, most: int) -> int:
    """How many steps a search over so many rows may take; 0 where one step costs too much."""
    steps = int(_MOST_WORK / (rows * inputs**2))
    return min(most, steps) if steps >= _FEWEST_STEPS else 0


def _lower(gram: Tensor) -> Float[Tensor, "rows rows"]:
    """Cholesky factor of a gram matrix with the least ridge that makes it regular."""
    own = gram.diagonal().clone().clamp_min(0) + _TINY
    ridge = _RIDGES[gram.dtype]
    while ridge < _MOST:
        gram.diagonal().copy_(own * (1 + ridge))
        lower: Tensor
        lower, failed = torch.linalg.cholesky_ex(gram)
        if not failed:
            return lower
        ridge *= _MORE
    raise NonFiniteError("the gram matrix of some rows is not finite")

"""Results of the group lasso: one solution or a path of them, each with its duality gap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float64, Int64
from torch import Tensor

from eckart.errors import InputError

Status = Literal["converged", "stalled", "iteration limit"]


@dataclass(frozen=True)
class GroupLassoResult:
    """One solution of the group lasso, with a bound of its distance from the optimum.

    Attributes:
        solutions: the matrix ``M`` of each consumer, shape (out, in); pruned groups are exactly 0.
        alpha: the penalty.
        objective: ``f(M) + alpha · g(M)``.
        gap: upper bound of ``objective - optimum``, relative to ``½ tr(B R⁺ Bᵀ)``.
        support: the groups that are not zero, ascending.
        iterations: Newton steps taken; each is O(working set³).
        status: "converged" (gap ≤ tol), "stalled" (rounding allows no further progress) or
            "iteration limit".
    """

    solutions: tuple[Float64[Tensor, "_ _"], ...]
    alpha: float
    objective: float
    gap: float
    support: Int64[Tensor, " kept"]
    iterations: int
    status: Status

    @property
    def solution(self) -> Float64[Tensor, "out in"]:
        """The matrix ``M``, if there is one consumer."""
        if len(self.solutions) != 1:
            raise InputError(
                f"the result has {len(self.solutions)} consumers: read its `solutions` instead"
            )
        return self.solutions[0]


@dataclass(frozen=True)
class GroupLassoPath:
    """Solutions along a path of penalties, or one for each requested support size.

    Attributes:
        results: in the order of the requested alphas or sizes.
        sizes: the requested sizes, if any.
    """

    results: tuple[GroupLassoResult, ...]
    sizes: tuple[int, ...] | None = None

    @property
    def alphas(self) -> tuple[float, ...]:
        """The penalty of each result."""
        return tuple(result.alpha for result in self.results)

    @property
    def jumped(self) -> tuple[int, ...]:
        """Requested sizes that no penalty gives; their results have the next smaller support."""
        pairs = zip(self.sizes or (), self.results, strict=False)
        return tuple(size for size, result in pairs if len(result.support) != size)

"""What a search under a tolerance evaluated, and what it found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eckart.records.scores import Score

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One candidate that was evaluated.

    Attributes:
        params: parameters with this candidate, of what is searched: one layer or the network.
        score: by the ``evaluate`` of the search.
        gap: how much worse the score is than dense, ``φ(y, ŷ) − φ(y, ŷ′)``; negative if better.
        rank: of the layer; None for a whole network.
    """

    params: int
    score: Score
    gap: float
    rank: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain dictionary."""
        return {**self.__dict__, "score": self.score.as_json()}


@dataclass(frozen=True, kw_only=True)
class ToleranceSearch:
    """The smallest candidate that is good enough, and everything that was tried to find it.

    Attributes:
        tolerance: the gap must stay below this; with a tolerance of 0 there must be no gap.
        dense_score: score of the dense network.
        dense_params: parameters of the dense layer, or of the network if all of it is searched.
        trials: every evaluation except the dense one, in order, without repetitions.
        found: the smallest of the trials that passed; None if none did, and all stays dense.
        monotone: whether no smaller candidate did better than a larger one, beyond noise.
    """

    tolerance: float
    dense_score: Score
    dense_params: int
    trials: tuple[Trial, ...]
    found: Trial | None
    monotone: bool = True

    @property
    def evaluations(self) -> int:
        """Number of candidates evaluated; the dense network is not counted."""
        return len(self.trials)

    @property
    def gap(self) -> float:
        """Gap of the found candidate; 0 if all stays dense."""
        return 0.0 if self.found is None else self.found.gap

    @property
    def saved_params(self) -> int:
        """How many fewer parameters than dense."""
        return 0 if self.found is None else self.dense_params - self.found.params

    @property
    def saved_fraction(self) -> float:
        """The saved parameters as a fraction of the dense ones of what is searched."""
        return self.saved_params / max(self.dense_params, 1)

    def as_json(self) -> dict[str, Any]:
        """Plain dictionaries and lists, including the values computed from the attributes."""
        return {
            "tolerance": self.tolerance,
            "dense_score": self.dense_score.as_json(),
            "dense_params": self.dense_params,
            "trials": [trial.as_json() for trial in self.trials],
            "found": None if self.found is None else self.found.as_json(),
            "monotone": self.monotone,
            "evaluations": self.evaluations,
            "gap": self.gap,
            "saved_params": self.saved_params,
            "saved_fraction": self.saved_fraction,
        }

    def __str__(self) -> str:
        order = "" if self.monotone else "; the score is not monotone in the size"
        tried = f"{self.evaluations} evaluations{order}"
        if self.found is None:
            return f"nothing smaller is within {self.tolerance:g} of dense ({tried})"
        rank = "" if self.found.rank is None else f"rank {self.found.rank}, "
        return (
            f"{rank}gap {self.gap:.4g} within {self.tolerance:g}; {self.saved_params} of "
            f"{self.dense_params} parameters saved ({self.saved_fraction:.1%}, {tried})"
        )


@dataclass(frozen=True, kw_only=True)
class FoundRank:
    """The result of ``find_rank``.

    Attributes:
        layer: name of the layer.
        method: name of the method that made the factors.
        model: a copy of the network with the layer at that rank; dense if no rank passes.
        search: every evaluation, the gap, and how many of the layer's parameters are saved.
    """

    layer: str
    method: str
    model: nn.Module
    search: ToleranceSearch

    @property
    def rank(self) -> int | None:
        """The smallest rank that is good enough; None if the layer stays dense."""
        return None if self.search.found is None else self.search.found.rank

    def __str__(self) -> str:
        return f"layer {self.layer!r}, {self.method}: {self.search}"

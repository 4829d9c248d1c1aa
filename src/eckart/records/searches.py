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
        bound: with the confidence of the search, the gap on further data is below this; None
            without a confidence. The score and the gap are then those of the ``score.n`` examples
            that were looked at.
    """

    params: int
    score: Score
    gap: float
    rank: int | None = None
    bound: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain dictionary."""
        return {**self.__dict__, "score": self.score.as_json()}


@dataclass(frozen=True, kw_only=True)
class ToleranceSearch:
    """The smallest candidate that is good enough, and everything that was tried to find it.

    Attributes:
        tolerance: the gap must stay below this; with a tolerance of 0 there must be no gap. With a
            confidence, the bound must be below this.
        dense_score: score of the dense network.
        dense_params: parameters of the dense layer, or of the network if all of it is searched.
        trials: every evaluation except the dense one, in order, without repetitions.
        found: the smallest of the trials that passed; None if none did, and all stays dense.
        monotone: whether no smaller candidate did better than a larger one, beyond noise.
        confidence: the chance that the gap of the found candidate on further data is below the
            tolerance, whatever was tried; None if the gap on these data decided.
        unit: with a confidence, what scores were compared by: ``"example"``, ``"row"`` or
            ``"batch"``.
    """

    tolerance: float
    dense_score: Score
    dense_params: int
    trials: tuple[Trial, ...]
    found: Trial | None
    monotone: bool = True
    confidence: float | None = None
    unit: str = "example"

    @property
    def evaluations(self) -> int:
        """Number of candidates evaluated; the dense network is not counted."""
        return len(self.trials)

    @property
    def gap(self) -> float:
        """Gap of the found candidate; 0 if all stays dense."""
        return 0.0 if self.found is None else self.found.gap

    @property
    def bound(self) -> float | None:
        """With a confidence: what the gap of the found candidate is below; None if none is."""
        return None if self.found is None else self.found.bound

    @property
    def examples(self) -> int | None:
        """How many examples all candidates were evaluated on, together; None if unknown."""
        seen = [trial.score.n for trial in self.trials]
        return None if None in seen else sum(n for n in seen if n is not None)

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
            "confidence": self.confidence,
            "unit": self.unit,
            "evaluations": self.evaluations,
            "examples": self.examples,
            "bound": self.bound,
            "gap": self.gap,
            "saved_params": self.saved_params,
            "saved_fraction": self.saved_fraction,
        }

    def __str__(self) -> str:
        order = "" if self.monotone else "; the score is not monotone in the size"
        tried = f"{self.evaluations} evaluations{self._looked_at()}{order}"
        if self.found is None:
            sure = self.confidence
            shown = "is" if sure is None else f"is shown, with confidence {sure:.4g}, to be"
            return f"nothing smaller {shown} within {self.tolerance:g} of dense ({tried})"
        rank = "" if self.found.rank is None else f"rank {self.found.rank}, "
        return (
            f"{rank}gap {self.gap:.4g}{self._bounded()} within {self.tolerance:g}; "
            f"{self.saved_params} of {self.dense_params} parameters saved "
            f"({self.saved_fraction:.1%}, {tried})"
        )

    def _looked_at(self) -> str:
        if self.confidence is None or self.examples is None:
            return ""
        plural = {"batch": "batches"}.get(self.unit, f"{self.unit}s")
        return f" on {self.examples:,} {plural} of {self.evaluations * (self.dense_score.n or 0):,}"

    def _bounded(self) -> str:
        if self.confidence is None or self.bound is None:
            return ""
        return f", below {self.bound:.4g} with confidence {self.confidence:.4g},"


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

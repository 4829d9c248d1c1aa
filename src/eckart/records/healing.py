"""What healing tried on a smaller network, and the result."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eckart.records.scores import Score

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class HealingStep:
    """One network that was scored, or a treatment that could not be done.

    Attributes:
        treatment: name of the treatment; ``"start"`` for the network given to ``heal``.
        note: what was tried, or why nothing was tried.
        score: on held-out data; None if nothing was scored.
        seconds: time since the previous step.
        accepted: whether the network was better than all before it.
    """

    treatment: str
    note: str
    score: Score | None
    seconds: float
    accepted: bool

    def as_json(self) -> dict[str, Any]:
        """Plain dictionary."""
        score = None if self.score is None else self.score.as_json()
        return {**self.__dict__, "score": score}


@dataclass(frozen=True)
class Healed:
    """The result of ``heal``.

    Attributes:
        model: the best network on held-out data; the given one if nothing helped.
        log: every step, in order; the first is the start.
    """

    model: nn.Module
    log: tuple[HealingStep, ...]

    @property
    def before(self) -> Score | None:
        """Held-out score of the network given to ``heal``."""
        return self.log[0].score if self.log else None

    @property
    def after(self) -> Score | None:
        """Held-out score of the returned network."""
        return self._best.score if self.log else None

    @property
    def _best(self) -> HealingStep:
        return next((step for step in reversed(self.log) if step.accepted), self.log[0])

    def __str__(self) -> str:
        helped = {s.treatment: s for s in self.log[1:] if s.accepted}  # the last is the best
        if not helped or self.before is None or self.after is None:
            why = "; ".join(f"{s.treatment}: {s.note}" for s in self.log[1:] if s.score is None)
            return "nothing helped: the network is unchanged" + (f" ({why})" if why else "")
        direction = "higher" if self.after.higher_is_better else "lower"
        count = "" if self.after.n is None else f", n = {self.after.n}"
        steps = "".join(
            f" → {step.score.value:.4g} by {name} ({step.note})"
            for name, step in helped.items()
            if step.score is not None
        )
        return f"held-out score {self.before.value:.4g}{steps}; {direction} is better{count}"

    def table(self) -> str:
        """The log as text, one step per line."""
        rows = [("treatment", "score", "seconds", "kept", "what")]
        for step in self.log:
            score = "–" if step.score is None else f"{step.score.value:.5g}"
            kept = "yes" if step.accepted else ""
            rows.append((step.treatment, score, f"{step.seconds:.1f}", kept, step.note))
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [
            "  ".join([*(cell.ljust(w) for cell, w in zip(row[:4], widths, strict=True)), row[4]])
            for row in rows
        ]
        return "\n".join(line.rstrip() for line in lines)

    def dumps(self) -> str:
        """The log as JSON text."""
        return json.dumps([step.as_json() for step in self.log], indent=1)

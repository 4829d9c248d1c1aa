"""The result of ``compress``, and how it looks beside the dense network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite

from torch import nn

from eckart.moments import Moments
from eckart.records import Curves, Healed, Measurement, Plan, Score, ToleranceSearch
from eckart.records.results import no_gain
from eckart.records.timings import Terms
from eckart.runtimes.pace import Pace


@dataclass(frozen=True, kw_only=True)
class Compressed:
    """The result of ``compress``.

    Attributes:
        model: the smaller network; the dense one is unchanged.
        plan: what was done to each layer, and why the others stayed dense.
        moments: reusable for any other budget.
        curves: every option that was considered.
        dense, smaller: what the dense and the smaller network cost, how long they take and how well
            they do; None if the measurement was interrupted.
        evaluations: number of networks that were evaluated to meet a tolerance.
        search: the evaluations by which the plan was chosen, if a tolerance was given.
        healed: what healing tried, if it was asked for.
    """

    model: nn.Module
    plan: Plan
    moments: Moments
    curves: Curves
    dense: Measurement | None = None
    smaller: Measurement | None = None
    evaluations: int = 0
    search: ToleranceSearch | None = None
    healed: Healed | None = None

    @property
    def before(self) -> Score | None:
        """Score of the dense network; None if it was not evaluated."""
        return None if self.dense is None else self.dense.score

    @property
    def after(self) -> Score | None:
        """Score of the smaller network; None if it was not evaluated."""
        return None if self.smaller is None else self.smaller.score

    @property
    def no_gain(self) -> str:
        """In what the smaller network is worse: slower, or much lower a score; else empty."""
        if self.dense is None or self.smaller is None:
            return ""
        return no_gain(self.dense, self.smaller)

    def __str__(self) -> str:
        score, worse = f"{self._score()}{self._time()}", self.no_gain
        healed = "" if self.healed is None else f"; healed: {self.healed}"
        return f"{self.plan}{healed}{score}" + (f"\nthe smaller network {worse}" if worse else "")

    def timed(self, pace: Pace, terms: Terms) -> Compressed:
        """The result with the times of both networks, which were measured side by side."""
        if self.dense is None or self.smaller is None:
            return self
        dense, smaller = (
            replace(
                found,
                latency_ms=times.median,
                latency_spread_ms=times.spread,
                batch=terms.batch,
                runtime=terms.runtime,
                threads=terms.threads,
            )
            for found, times in ((self.dense, pace.dense), (self.smaller, pace.smaller))
        )
        return replace(self, dense=dense, smaller=smaller)

    def _time(self) -> str:
        """Milliseconds beside those of the dense network."""
        if self.dense is None or self.smaller is None or not self.smaller.latency_ms:
            return ""
        before, after = self.dense.latency_ms or 0.0, self.smaller.latency_ms
        share = f" ({after / before:.2f})" if before else ""
        return f"; {after:.3g} of {before:.3g} ms{share} in {self.smaller.terms}"

    def _score(self) -> str:
        if self.before is None or self.after is None:
            return ""
        error = self.after.drop_error(self.before)
        spread = f" ± {error:.4f}" if isfinite(error) else ""
        change = f"a {self.after.change_from(self.before)} of"
        by = abs(self.after.value - self.before.value)
        return f"; score {self.after.value:.4f}, {change} {by:.4f}{spread}"

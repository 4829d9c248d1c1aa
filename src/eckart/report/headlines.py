"""The facts at the top of the page: what the network is, and how small it can be."""

from __future__ import annotations

from dataclasses import dataclass

from eckart.records import Frontier
from eckart.report.formats import ScoreFormat, milliseconds, short_count
from eckart.report.selection import has_scores, smallest_within_error


@dataclass(frozen=True)
class Headline:
    """One fact: what it is, the number, and a remark."""

    what: str
    value: str
    remark: str


def headlines(frontier: Frontier) -> list[Headline]:
    """The dense score and costs and, if points have scores, the smallest point that is as good."""
    dense = frontier.dense
    found = [
        *_dense_score(frontier),
        Headline("Parameters", short_count(dense.params), f"{dense.params:,}"),
        Headline("Multiply-adds", short_count(dense.macs), "for one example"),
    ]
    if dense.latency_ms is not None:
        text = f"{milliseconds(dense.latency_ms)} ms"
        found.append(Headline("Latency", text, dense.terms))
    return [*found, *_smallest_as_good(frontier)]


def _dense_score(frontier: Frontier) -> list[Headline]:
    score = frontier.dense.score
    if score is None:
        return []
    written = ScoreFormat.of(score)
    value, _, error = written.text(score.value, score.standard_error).partition(" ± ")
    about = [f"± {error}" if error else "", f"on {score.n:,} examples" if score.n else ""]
    return [Headline("Dense score", value + written.unit, " ".join(filter(None, about)))]


def _smallest_as_good(frontier: Frontier) -> list[Headline]:
    if not has_scores(frontier):
        return []
    what, index = "As good as dense", smallest_within_error(frontier)
    if index is None:
        return [Headline(what, "none", "no point is within one standard error")]
    point, dense = frontier.points[index], frontier.dense
    score = point.measurement.score
    written = ScoreFormat.of(dense.score)
    value = written.text(None if score is None else score.value) + written.unit
    kept = f"{point.measurement.params / dense.params:.2f} of params"
    return [Headline(what, kept, f"smallest within one standard error: {value}")]

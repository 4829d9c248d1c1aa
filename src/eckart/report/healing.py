"""What the page shows about healing: every network that was judged, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eckart.errors import InputError
from eckart.records import Frontier, HealingStep, Score
from eckart.report.formats import ScoreFormat, known
from eckart.report.selection import point_name

Logs = Mapping[tuple[float, str], Sequence[HealingStep]]  # by the (keep, label) of a point


def checked_logs(logs: Logs | None, frontier: Frontier) -> Logs:
    """The logs, after a check that each belongs to a point of the frontier.

    Raises:
        InputError: no point has one of the keys; the message lists the points.
    """
    points = {(point.keep, point.label): point_name(point) for point in frontier.points}
    for key in logs or {}:
        if key not in points:
            raise InputError(
                f"healed has a log for (keep, label) = {key!r}, which no point has; "
                f"the points are {', '.join(points.values())}"
            )
    return logs or {}


def healing_data(log: Sequence[HealingStep] | None) -> dict[str, Any] | None:
    """A log as plain lists; None where no network was judged.

    Returns:
        How scores are written, whether higher is better, and every step as [treatment, note, score,
        standard error, seconds since the start, accepted].
    """
    first = next((step.score for step in log or () if step.score is not None), None)
    if log is None or first is None:
        return None
    seconds, steps = 0.0, []
    for step in log:
        seconds += known(step.seconds) or 0.0
        steps.append([step.treatment, step.note, *_judged(step.score), seconds, step.accepted])
    return {
        "percent": ScoreFormat.of(first).percent,
        "higher": first.higher_is_better,
        "n": first.n,
        "steps": steps,
    }


def _judged(score: Score | None) -> list[float | None]:
    return [None, None] if score is None else [score.value, known(score.standard_error)]

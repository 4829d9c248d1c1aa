"""Which families and points of a frontier come first."""

from __future__ import annotations

from math import inf

from eckart.records import Frontier, Point, Score
from eckart.report.formats import known

MAIN = "eckart"
_ROUNDED = 1 + 1e-9  # where one example differs, a drop and its standard error are equal


def labels(frontier: Frontier) -> tuple[str, ...]:
    """The families: ours first, then the baselines in the order they were asked for."""
    found = dict.fromkeys(point.label for point in frontier.points)
    return tuple(sorted(found, key=lambda label: label != MAIN))


def point_name(point: Point) -> str:
    """The name of a point in messages."""
    return f"'{point.label}' at keep={point.keep:g}"


def has_scores(frontier: Frontier) -> bool:
    """Whether the dense network and at least one point have a score."""
    scored = any(point.measurement.score is not None for point in frontier.points)
    return scored and frontier.dense.score is not None


def drop_of(point: Point, dense: Score | None) -> float | None:
    """How much worse a point is than the dense network; None where either has no score."""
    score = point.measurement.score
    return None if score is None or dense is None else score.drop_from(dense)


def drop_error(point: Point, dense: Score | None) -> float | None:
    """Standard error of the point's drop: recorded, or else from the samples, or else None."""
    if point.drop_error is not None:
        return known(point.drop_error)
    score = point.measurement.score
    return None if score is None or dense is None else known(score.drop_error(dense))


def smallest_within_error(frontier: Frontier) -> int | None:
    """The cheapest point of the first family that is within one standard error of the dense score.

    Its drop is at most the drop's own standard error or, where that is unknown, the larger of
    the two scores' standard errors.

    Returns:
        Its index among the points; None if there is no such point or no error is known.
    """
    dense, family = frontier.dense.score, labels(frontier)[0]
    within = [
        index
        for index, point in enumerate(frontier.points)
        if point.label == family and _is_within_error(point, dense)
    ]
    return min(within, key=lambda i: _cost(frontier.points[i], frontier.cost), default=None)


def first_selected(frontier: Frontier) -> int:
    """The point a reader sees first: the smallest within error, or else the best one.

    The best is the one with the best score or, without scores, the least predicted loss.
    """
    found = smallest_within_error(frontier)
    if found is not None:
        return found
    dense, family = frontier.dense.score, labels(frontier)[0]
    ours = {i: point for i, point in enumerate(frontier.points) if point.label == family}
    drops = {i: drop for i, point in ours.items() if (drop := drop_of(point, dense)) is not None}
    losses = {i: known(point.plan.loss) for i, point in ours.items()}
    return min(ours, key=lambda i: (drops.get(i, inf), inf if losses[i] is None else losses[i]))


def _is_within_error(point: Point, dense: Score | None) -> bool:
    score, drop, error = point.measurement.score, drop_of(point, dense), drop_error(point, dense)
    if score is None or dense is None or drop is None:
        return False
    if error is None:
        errors = [known(score.standard_error), known(dense.standard_error)]
        error = max((e for e in errors if e is not None), default=None)
    return error is not None and drop <= error * _ROUNDED


def _cost(point: Point, cost: str) -> float:
    value = getattr(point.measurement, cost, None)
    return float(value) if isinstance(value, int | float) else point.keep

"""Which families and points of a frontier come first."""

from __future__ import annotations

from eckart.errors import InputError
from eckart.records import Frontier, Point, Score
from eckart.report.formats import known

MAIN = "eckart"


def labels(frontier: Frontier) -> tuple[str, ...]:
    """The families, ours first, baselines in the order they were asked for."""
    found = dict.fromkeys(point.label for point in frontier.points)
    return tuple(sorted(found, key=lambda label: label != MAIN))


def point_name(point: Point) -> str:
    """How a point is called in messages."""
    return f"'{point.label}' at keep={point.keep:g}"


def score_of(point: Point) -> Score:
    """The point's score.

    Raises:
        InputError: where it has none.
    """
    if point.measurement.score is None:
        raise InputError(
            f"point {point_name(point)} has no score to report: "
            "make the frontier with an evaluate function"
        )
    return point.measurement.score


def dense_score(frontier: Frontier) -> Score:
    """The dense network's score.

    Raises:
        InputError: where it has none.
    """
    if frontier.dense.score is None:
        raise InputError(
            "the frontier's dense network has no score to report: "
            "make the frontier with an evaluate function"
        )
    return frontier.dense.score


def drop_error(point: Point, dense: Score) -> float | None:
    """Standard error of the point's drop: as recorded, or from the samples, or None."""
    if point.drop_error is not None:
        return known(point.drop_error)
    return known(score_of(point).drop_error(dense))


def smallest_within_error(frontier: Frontier) -> int | None:
    """The cheapest point of the first family that is as good as dense, to one standard error.

    Its drop is at most the drop's own standard error or, where that is unknown, the larger of
    the two scores' standard errors.

    Returns:
        Its index among the points; None if there is no such point or no error is known.
    """
    dense, family = dense_score(frontier), labels(frontier)[0]
    within = [
        index
        for index, point in enumerate(frontier.points)
        if point.label == family and _is_within_error(point, dense)
    ]
    return min(within, key=lambda i: _cost(frontier.points[i], frontier.metric), default=None)


def first_selected(frontier: Frontier) -> int:
    """The point a reader sees first: the smallest within error, or else the best one."""
    found = smallest_within_error(frontier)
    if found is not None:
        return found
    dense, family = dense_score(frontier), labels(frontier)[0]
    ours = [i for i, point in enumerate(frontier.points) if point.label == family]
    return min(ours, key=lambda i: score_of(frontier.points[i]).drop_from(dense))


def _is_within_error(point: Point, dense: Score) -> bool:
    score, error = score_of(point), drop_error(point, dense)
    if error is None:
        errors = [known(score.standard_error), known(dense.standard_error)]
        error = max((e for e in errors if e is not None), default=None)
    return error is not None and score.drop_from(dense) <= error


def _cost(point: Point, metric: str) -> float:
    cost = getattr(point.measurement, metric, None)
    return float(cost) if isinstance(cost, int | float) else point.keep

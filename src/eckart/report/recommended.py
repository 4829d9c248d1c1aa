"""Which point the page opens on, and why; and the files that are ready to take."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from eckart.records import Frontier, Measurement, Point
from eckart.report.formats import ScoreFormat, milliseconds, significant
from eckart.report.selection import (
    drop_error,
    drop_of,
    first_selected,
    has_scores,
    smallest_within_error,
)


@dataclass(frozen=True)
class Taken:
    """Files of the point that the page recommends.

    Attributes:
        files: what each file or folder is for, by its path.
        lines: Python that makes them again.
    """

    files: Mapping[Path, str] = field(default_factory=dict)
    lines: str = ""

    def rows(self, page: Path) -> list[tuple[str, str | None, str, str]]:
        """Name, link, megabytes and purpose of each, as seen from the folder of the page.

        A folder has no link.
        """
        rows = []
        for path, purpose in self.files.items():
            name = Path(os.path.relpath(path, page.parent)).as_posix()
            link = None if path.is_dir() else quote(name)
            rows.append((name, link, f"{significant(_size(path) / 1e6, 3)} MB", purpose))
        return rows


@dataclass(frozen=True)
class Recommendation:
    """The point that the page opens on: its name, and why."""

    name: str
    why: str


def recommended_point(frontier: Frontier) -> Point:
    """The point that the page opens on."""
    return frontier.points[first_selected(frontier)]


def recommendation(frontier: Frontier) -> Recommendation:
    """The smallest point that is as good as dense; else the best one, with the reason."""
    point = recommended_point(frontier)
    name = f"{point.label}, keep {point.keep:g}"
    return Recommendation(name, f"{_reason(frontier, point)} {_costs(frontier, point)}".strip())


def _reason(frontier: Frontier, point: Point) -> str:
    if not has_scores(frontier):
        return "No scores were measured, so this is the point of least predicted loss."
    dense, score = frontier.dense.score, point.measurement.score
    written = ScoreFormat.of(dense)
    drop = written.text(drop_of(point, dense), drop_error(point, dense))
    now, before = (written.text(s.value if s else None) + written.unit for s in (score, dense))
    if smallest_within_error(frontier) is None:
        return (
            f"The best one; none is within one standard error of dense: {now} instead of {before}."
        )
    return (
        f"The smallest network whose score is within one standard error of the dense one's: {now} "
        f"instead of {before}, a difference of {drop}."
    )


def _costs(frontier: Frontier, point: Point) -> str:
    found = list(_changes(frontier.dense, point.measurement))
    return f"It takes {' and '.join(found)}." if found else ""


def _changes(dense: Measurement, smaller: Measurement) -> Iterator[str]:
    after, before = (significant(found.bytes / 1e6, 3) for found in (smaller, dense))
    yield f"{after} MB instead of {before}"
    if smaller.latency_ms is not None and dense.latency_ms is not None:
        yield f"{milliseconds(smaller.latency_ms)} ms instead of {milliseconds(dense.latency_ms)}"


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(inner.stat().st_size for inner in path.rglob("*") if inner.is_file())

"""The table that opens a study's page: the notebook's figure, its method here, and eckart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from study_kit.study import Row, percent, table

COSTS = {"params": ("parameters", "{:,}")}
"""The costs that are shown where the rows have them: key of a row, head of its column, format."""


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        what: what was done to the network.
        notebook: the notebook's accuracy as a fraction; None if it has no figure for this.
        method: the row of the notebook's method, as measured here.
        ours: the row of eckart at no higher cost; None if there is nothing to compare.
    """

    what: str
    notebook: float | None
    method: Row
    ours: Row | None = None


def opening(lines: Sequence[Line], score: str = "accuracy") -> str:
    """Accuracies in percent, then one column per cost, the notebook's method first."""
    costs = {key: cost for key, cost in COSTS.items() if all(key in line.method for line in lines)}
    head = ("", "the notebook", "its method here", "**eckart** at equal cost")
    cells = [
        (line.what, percent(line.notebook), _score(line.method, score), _score(line.ours, score),
         *(_pair(line, *c) for c in costs.items()))
        for line in lines
    ]  # fmt: skip
    return table((*head, *(name for name, _ in costs.values())), cells)


def averaged(rows: Sequence[Row], score: str = "accuracy") -> Row:
    """One row for several seeds: the mean score and costs, and each seed's score."""
    costs = {key: round(mean(row[key] for row in rows)) for key in COSTS if key in rows[0]}
    each = [row[score] for row in rows]
    return {**costs, score: mean(each), "each": each}


def _score(row: Row | None, score: str) -> str | None:
    """A score in percent; of several seeds the mean, and each in brackets."""
    if row is None or len(row.get("each", ())) < 2:
        return percent(row and row[score])
    each = ", ".join(f"{100 * value:.2f}" for value in row["each"])
    return f"{percent(row[score])} ({each})"


def _pair(line: Line, key: str, cost: tuple[str, str]) -> str:
    both = [row for row in (line.method, line.ours) if row is not None]
    return " / ".join(cost[1].format(row[key]) for row in both)

"""The frontier as a table: the dense network, then ours, then the baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eckart.records import Frontier, Measurement, Point, Score
from eckart.report.formats import (
    UNKNOWN,
    ScoreFormat,
    fraction,
    loss_text,
    milliseconds,
    significant,
)
from eckart.report.selection import drop_error, drop_of, has_scores, labels

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One network of the frontier as text.

    Attributes:
        label: its family, or ``"dense"`` for the original network.
        cells: the text in each column after the first.
        index: the index of the point in the frontier; None for the dense network.
    """

    label: str
    cells: tuple[str, ...]
    index: int | None = None


def has_latency(frontier: Frontier) -> bool:
    """Whether the dense network and at least one point were timed."""
    timed = any(point.measurement.latency_ms is not None for point in frontier.points)
    return timed and frontier.dense.latency_ms is not None


def has_bytes(frontier: Frontier) -> bool:
    """Whether bytes are worth a column: they were the budget, or some weights are in codes."""
    plans = (point.plan for point in frontier.points)
    coded = any(choice.form.bits for plan in plans for choice in plan.choices.values())
    return coded or frontier.cost == "bytes"


def table_columns(frontier: Frontier) -> tuple[str, ...]:
    """Names of the columns after the first; latency and score only if they were measured.

    Bytes are there where they say something that parameters do not.
    """
    unit = ScoreFormat.of(frontier.dense.score).unit
    latency = ("latency ms",) if has_latency(frontier) else ()
    falls = frontier.dense.score is None or frontier.dense.score.higher_is_better
    scores = (
        (f"score{unit}", f"{'drop' if falls else 'rise'}{unit}") if has_scores(frontier) else ()
    )
    size = ("MB", "bytes kept") if has_bytes(frontier) else ()
    costs = ("params", "params kept", "MACs kept", *size)
    return ("keep", *costs, *latency, *scores, "pred. loss")


def table_rows(frontier: Frontier) -> tuple[Row, ...]:
    """The dense network, then every family's points in the order they were asked for."""
    sized = has_bytes(frontier)
    rows = [_dense_row(frontier, sized)]
    for label in labels(frontier):
        rows += [
            _point_row(frontier, index, point, sized)
            for index, point in enumerate(frontier.points)
            if point.label == label
        ]
    return tuple(rows)


def frontier_table(frontier: Frontier) -> Table:
    """The frontier as a table for the terminal.

    There is one row per network, and each family is named once. Scores and drops have standard
    errors; they are in percent if the dense score is in [0, 1] and higher is better.

    Args:
        frontier: dense network and points; columns that were not measured are left out.

    Returns:
        A table that ``rich.print`` shows.
    """
    from rich import box  # here, because rich takes a while to import
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("", overflow="fold", min_width=6)
    for name in table_columns(frontier):
        header = name.replace(" %", "\N{NO-BREAK SPACE}%").replace(" ", "\n")
        table.add_column(header, justify="right", overflow="fold")
    before = None
    for row in table_rows(frontier):
        if before not in (None, row.label):
            table.add_section()
        label = "" if before == row.label else row.label
        table.add_row(Text(label), *(Text(cell) for cell in row.cells))
        before = row.label
    return table


def _dense_row(frontier: Frontier, sized: bool) -> Row:
    costs = _cost_cells(frontier, frontier.dense, sized)
    scores = _score_cells(frontier, frontier.dense.score, None, None)
    return Row("dense", (UNKNOWN, *costs, *scores, UNKNOWN))


def _point_row(frontier: Frontier, index: int, point: Point, sized: bool) -> Row:
    dense, score = frontier.dense.score, point.measurement.score
    cells = (
        f"{point.keep:g}",
        *_cost_cells(frontier, point.measurement, sized),
        *_score_cells(frontier, score, drop_of(point, dense), drop_error(point, dense)),
        loss_text(point.plan.loss),
    )
    return Row(point.label, cells, index)


def _score_cells(
    frontier: Frontier, score: Score | None, drop: float | None, error: float | None
) -> tuple[str, ...]:
    if not has_scores(frontier):
        return ()
    form = ScoreFormat.of(frontier.dense.score)
    value = UNKNOWN if score is None else form.text(score.value, score.standard_error)
    return value, form.text(drop, error)


def _cost_cells(frontier: Frontier, measured: Measurement, sized: bool) -> tuple[str, ...]:
    dense = frontier.dense
    latency = (milliseconds(measured.latency_ms),) if has_latency(frontier) else ()
    megabytes = (significant(measured.bytes / 1e6, 3), fraction(measured.bytes, dense.bytes))
    return (
        f"{measured.params:,}",
        fraction(measured.params, dense.params),
        fraction(measured.macs, dense.macs),
        *(megabytes if sized else ()),
        *latency,
    )

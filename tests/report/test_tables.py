from dataclasses import replace

import pytest
from rich.console import Console

from eckart.records import Score
from eckart.report import frontier_table
from eckart.report.formats import UNKNOWN, ScoreFormat, short_count, significant
from eckart.report.selection import first_selected, smallest_within_error
from eckart.report.tables import table_columns, table_rows


def rendered(frontier, width=120):
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(frontier_table(frontier))
    return capture.get()


def lines(frontier, width=120):
    return [line.strip() for line in rendered(frontier, width).splitlines() if line.strip()]


def relabelled(frontier, label):
    points = tuple(
        replace(point, label=label) if point.label == "uniform svd" else point
        for point in frontier.points
    )
    return replace(frontier, points=points)


def rescored(frontier, *values, higher=False):
    """The frontier with other scores, dense first, that have no samples."""
    scores = [Score(value, 1000, higher_is_better=higher) for value in values]
    points = tuple(
        replace(point, measurement=replace(point.measurement, score=score), drop_error=None)
        for point, score in zip(frontier.points, scores[1:], strict=True)
    )
    return replace(frontier, dense=replace(frontier.dense, score=scores[0]), points=points)


def test_dense_first_then_ours_then_baselines(frontier):
    body = lines(frontier)[3:]
    assert len(body) == 1 + 8
    assert body[0].startswith("dense")
    assert body[1].startswith("eckart")
    assert body[5].startswith("uniform svd")


def test_every_number_of_a_point(frontier):
    point = next(p for p in frontier.points if p.label == "eckart" and p.keep == 0.4)
    row = lines(frontier)[3 + 3].split()
    done, dense = point.measurement, frontier.dense
    assert row[0] == "0.4"
    assert row[1] == f"{done.params:,}"
    assert row[2] == f"{done.params / dense.params:.3f}"
    assert row[3] == f"{done.macs / dense.macs:.3f}"
    assert float(row[4]) == pytest.approx(done.latency_ms, rel=0.01)
    assert " ".join(row[5:8]) == f"88.00 ± {100 * done.score.standard_error:.2f}"
    assert " ".join(row[8:11]) == f"4.00 ± {100 * point.drop_error:.2f}"
    assert float(row[11]) == pytest.approx(point.plan.loss, rel=0.01)


def test_latency_only_where_measured(frontier, untimed):
    assert "latency" in rendered(frontier)
    assert "latency" not in rendered(untimed)


def test_bytes_have_columns_where_weights_are_in_codes(frontier, coded):
    assert "MB" not in table_columns(frontier)
    assert table_columns(coded)[4:6] == ("MB", "bytes kept")
    row = next(row for row in table_rows(coded) if row.index == 6)
    size, whole = coded.points[6].measurement.bytes, coded.dense.bytes
    assert row.cells[4:6] == (significant(size / 1e6, 3), f"{size / whole:.3f}")


def test_fits_a_terminal_of_80_columns(frontier):
    text = rendered(frontier, width=80)
    assert "…" not in text
    assert "uniform svd" in text
    assert len(lines(frontier, width=80)) == len(lines(frontier))


def test_a_label_is_no_markup(frontier):
    assert "[red]x[/red]" in rendered(relabelled(frontier, "[red]x[/red]"))


def test_the_recorded_error_of_a_drop_is_used_without_samples(frontier):
    bare = rescored(frontier, *[0.9] * 9, higher=True)
    points = tuple(replace(point, drop_error=0.0123) for point in bare.points)
    assert "0.00 ± 1.23" in rendered(replace(bare, points=points))


def test_perplexity_is_not_percent(frontier):
    text = rendered(rescored(frontier, 0.5, *[0.75] * 8))
    assert "%" not in text
    assert "0.7500" in text
    assert "0.2500" in text  # the drop of a loss that rose is positive


def unscored(frontier, *indices, dense=True):
    """The frontier without the scores of some points, and perhaps of the dense network."""
    points = tuple(
        replace(point, measurement=replace(point.measurement, score=None), drop_error=None)
        if index in indices
        else point
        for index, point in enumerate(frontier.points)
    )
    kept = frontier.dense if dense else replace(frontier.dense, score=None)
    return replace(frontier, dense=kept, points=points)


def test_a_missing_score_is_left_out(frontier):
    rows = {row.index: row for row in table_rows(unscored(frontier, 2))}
    columns = table_columns(frontier)[1:]
    assert rows[2].cells[-3:-1] == (UNKNOWN, UNKNOWN)
    assert UNKNOWN not in rows[1].cells
    assert "score %" in columns


@pytest.mark.parametrize("dense", [True, False])
def test_without_scores_there_are_no_such_columns(frontier, dense):
    bare = unscored(frontier, *range(len(frontier.points)), dense=dense)
    assert not any("score" in name or "drop" in name for name in table_columns(bare))
    assert all(len(row.cells) == len(table_columns(bare)) for row in table_rows(bare))
    assert smallest_within_error(bare) is None
    assert first_selected(bare) == 4  # the least predicted loss of the first family


def test_the_smallest_point_within_one_error(frontier):
    # eckart's drops are 0, 0.5 ± 0.22, 4 and 22 points: only the first is within its error
    assert smallest_within_error(frontier) == 4
    points = tuple(
        replace(point, drop_error=0.006) if index == 5 else point
        for index, point in enumerate(frontier.points)
    )
    assert smallest_within_error(replace(frontier, points=points)) == 5


def test_without_errors_the_best_point_is_selected(frontier):
    bare = rescored(frontier, 10.0, *[20.0] * 4, 16.0, 14.0, 15.0, 30.0)
    assert smallest_within_error(bare) is None
    assert first_selected(bare) == 5


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.0, 3, "0"),
        (1304.2, 3, "1304"),
        (-0.5, 2, "-0.50"),
        (1e-12, 3, "1.00e-12"),
        (float("nan"), 3, "–"),
        (float("inf"), 3, "–"),
    ],
)
def test_significant_digits(value, digits, text):
    assert significant(value, digits) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (1000, "1 k"), (269722, "269.7 k"), (7_000_000_000, "7 G")],
)
def test_short_counts(count, text):
    assert short_count(count) == text


@pytest.mark.parametrize(
    ("score", "percent"),
    [
        (Score(0.92), True),
        (Score(1.0), True),
        (Score(0.92, higher_is_better=False), False),
        (Score(27.1), False),
        (Score(-0.2), False),
    ],
)
def test_percent_is_for_fractions_of_which_more_is_better(score, percent):
    assert ScoreFormat.of(score).percent is percent

"""The table of trained networks of many kinds."""

from collections.abc import Sequence

from benchmarks.measuring.results_file import Row, committed
from benchmarks.tables.markdown import table


def networks() -> str:
    """The score of every network by method and fraction kept."""
    rows: Sequence[Row] = committed("networks")
    keeps = sorted({row["keep"] for row in rows if row["method"] != "dense"}, reverse=True)
    lines = []
    for name in dict.fromkeys(row["network"] for row in rows):
        mine = [row for row in rows if row["network"] == name]
        dense = next(row for row in mine if row["method"] == "dense")
        title = f"{name}, {dense['unit']}, {dense['params']:,} parameters"
        cells = {(row["method"], row["keep"]): row["score"] for row in mine}
        for method in dict.fromkeys(row["method"] for row in mine if row is not dense):
            scores = [_shown(cells.get((method, keep))) for keep in keeps]
            bold = "**eckart**" if method == "eckart" else method
            lines.append([title, bold, _shown(dense["score"]), *scores])
            title = ""
    return table(["network", "method", "dense", *(f"{keep:g}" for keep in keeps)], lines)


def _shown(score: float | None) -> str:
    return "–" if score is None else f"{score:.3f}"


SECTIONS = {"networks": networks}

"""The table of what healing gains."""

from collections.abc import Callable, Sequence

from benchmarks.measuring.results_file import Row, committed
from benchmarks.tables.markdown import table

TITLES = {
    "correct": "correct",
    "refit": "refit",
    "distil": "distil",
    "correct,refit,distil": "all three in order",
    "calibrated on all": "calibrated on all images",
}


def accuracies(rows: Sequence[Row]) -> str:
    """Accuracy in percent and seconds, by network, fraction kept and treatment."""
    head = ["network (dense, test images)", "kept", "not healed", *TITLES.values()]
    lines = []
    for name, keep in dict.fromkeys((row["network"], row["keep"]) for row in rows):
        cells = {r["treatment"]: r for r in rows if (r["network"], r["keep"]) == (name, keep)}
        first = next(iter(cells.values()))
        texts = [
            f"{name} ({100 * first['dense']:.2f}, {first['images']:,})",
            f"{keep:g}",
            f"{100 * first['start']:.2f}",
            *(_cell(cells[title]) if title in cells else "" for title in TITLES),
        ]
        lines.append(texts)
    return table(head, lines)


def _cell(row: Row) -> str:
    return f"{100 * row['accuracy']:.2f} ({row['seconds']:.0f} s)"


SECTIONS: dict[str, Callable[[], str]] = {
    "healing accuracies": lambda: accuracies(committed("healing"))
}

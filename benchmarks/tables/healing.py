"""Tables of what `benchmarks.healing.healing` measured, in Markdown."""

from collections.abc import Callable, Sequence

from benchmarks.channels.channel_choice import Row
from benchmarks.tables.markdown import table

TITLES = {
    "correct": "correct",
    "refit": "refit",
    "distil": "distil",
    "correct,refit,distil": "all three in order",
    "calibrated on all": "all images calibrate",
}


def accuracies(rows: Sequence[Row]) -> str:
    """Accuracy in percent and seconds, by network, fraction kept and treatment."""
    return _table(rows, lambda row: f"{100 * row['accuracy']:.2f} ({row['seconds']:.0f} s)")


def gains(rows: Sequence[Row]) -> str:
    """Points that a minute buys, by network, fraction kept and treatment."""
    return _table(rows, lambda row: f"{_gain(row) / row['seconds'] * 60:+.2f}")


def _gain(row: Row) -> float:
    return 100 * (row["accuracy"] - row["start"])


def _table(rows: Sequence[Row], cell: Callable[[Row], str]) -> str:
    head = ["network (dense, test images)", "kept", "not healed", *TITLES.values()]
    lines = []
    for name, keep in dict.fromkeys((row["network"], row["keep"]) for row in rows):
        cells = {r["treatment"]: r for r in rows if (r["network"], r["keep"]) == (name, keep)}
        first = next(iter(cells.values()))
        texts = [
            f"{name} ({100 * first['dense']:.2f}, {first['images']:,})",
            f"{keep:g}",
            f"{100 * first['start']:.2f}",
            *(cell(cells[title]) if title in cells else "" for title in TITLES),
        ]
        lines.append(texts)
    return table(head, lines)


MAKERS = {"accuracies": accuracies, "gains": gains}

"""The table of an encoder in few bits, tables included."""

from benchmarks.measuring.results_file import committed
from benchmarks.tables.markdown import table


def sentences() -> str:
    """What is left of the correlation at each fraction of all bytes."""
    rows = committed("bits-sentences")
    lines = [
        [
            "dense" if row["method"] == "dense" else f"{row['limit']:g}",
            f"{100 * row['spearman']:.2f}",
            "–" if row["method"] == "dense" else f"{100 * row['drop']:.2f}",
            "–" if row["method"] == "dense" else f"{100 * row['drop_error']:.2f}",
            ", ".join(f"{bits} × {count}" for bits, count in row.get("widths", {}).items()) or "–",
        ]
        for row in rows
    ]
    return table(["bytes", "Spearman, %", "lost", "standard error", "bits × layers"], lines)


SECTIONS = {"bits sentences": sentences}

"""The tables of moments shrunk as their batches say."""

from collections.abc import Callable, Sequence

from benchmarks.measuring.results_file import Row, committed
from benchmarks.tables.markdown import table


def rows_of(subject: str, what: str) -> Sequence[Row]:
    """The rows of one subject that have this entry."""
    return [r for r in committed("shrinkage") if r["subject"] == subject and what in r]


def in_layers(subject: str) -> str:
    """Losses on other data, relative to the best fixed damping, by number of examples."""
    lines = []
    for row in rows_of(subject, "relative"):
        shares = (f"{value:.3f}" for value in row["relative"])
        lines.append([f"{row['examples']:,}", said(row), *shares])
    heads = ["examples", "damping", *(f"rank {share:g}" for share in (0.6, 0.4, 0.2))]
    return table(heads, lines)


def in_networks(subject: str) -> str:
    """What was predicted, the same on other data, and scores."""
    lines = []
    for row in rows_of(subject, "keep"):
        losses = (f"{row[of]:.3g}" for of in ("predicted", "on other data"))
        score = f"{100 * row['score']:.2f}" if "score" in row else "–"
        lines.append([f"{row['examples']:,}", f"{row['keep']:g}", said(row), *losses, score])
    heads = ["examples", "kept", "damping", "predicted", "on other data", "score, %"]
    return table(heads, lines)


def said(row: Row) -> str:
    """The damping, and the metric where it is not the default one."""
    name = "**from the data**" if row["damping"] == "auto" else f"{row['damping']:g}"
    return name if row["metric"] == "auto" else f"{name}, {row['metric']}"


def section(make: Callable[[str], str], subject: str) -> Callable[[], str]:
    """A table of one subject."""
    return lambda: make(subject)


SUBJECTS = ("resnet20", "minilm", "smollm2")
SECTIONS = {
    **{f"shrinkage layers {name}": section(in_layers, name) for name in SUBJECTS},
    **{f"shrinkage networks {name}": section(in_networks, name) for name in SUBJECTS},
}

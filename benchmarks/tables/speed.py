"""The tables and the figure of accuracy at equal milliseconds."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from matplotlib.figure import Figure

from benchmarks.measuring.results_file import Row, committed
from benchmarks.tables.bits import accuracy
from benchmarks.tables.markdown import table

FIGURE = Path("docs/results/speed-predicted.png")
NAMES = {
    "ms": "**eckart, budget in milliseconds**",
    "macs": "eckart, budget in multiply-adds",
    "channels": "eckart, channels alone, budget in multiply-adds",
    "torch_pruning_l2": "Torch-Pruning, largest norm",
    "l2_channels": "largest norm, least squares after it",
}
ROUNDED, STATIC = "ms, 8 bits", "onnxruntime static"
_CLOSE, _WIDTH = 0.1, 120


def rows_of(what: str, network: str = "resnet20") -> Sequence[Row]:
    """All rows of one kind."""
    key = {"what": what, "network": network}
    return [row for row in committed("speed") if key.items() <= row.items()]


def points() -> str:
    """Accuracy of the largest network within each limit, with the share that was measured."""
    rows = [row for row in rows_of("point") if row["family"] in NAMES]
    limits = sorted({row["limit"] for row in rows}, reverse=True)
    cells = {(row["family"], row["limit"]): row for row in rows}
    lines = [
        [name, *(_cell(cells.get((family, limit))) for limit in limits)]
        for family, name in NAMES.items()
    ]
    return table(["", *(f"{limit:g} of dense's time" for limit in limits)], lines)


def _cell(row: Row | None) -> str:
    return "–" if row is None or "share" not in row else f"{accuracy(row)} ({row['share']:.2f})"


def rounded() -> str:
    """Accuracy in 8 bits, as ONNX Runtime computes, with the share of time that was measured."""
    rows = [row for row in rows_of("point") if row["family"] == STATIC and "share" in row]
    lines = [["ONNX Runtime, static quantisation of the dense network", _cell(row)] for row in rows]
    for row in rows_of("point"):
        if row["family"] == ROUNDED:
            lines.append([f"**eckart**, {row['limit']:g} of dense's time", _cell(row)])
    return table(["", "accuracy (share of dense's time)"], lines or [["not measured yet", "–"]])


def profile() -> str:
    """What was timed, in one sentence."""
    (row,), (dense,) = rows_of("profile"), rows_of("dense")
    versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
    return fill(
        f"Dense: {accuracy(dense)} % of {dense['images']:,} images, {row['dense_ms']:.1f} ms. "
        f"`profile` timed {row['layers']} layers of {row['kinds']} kinds and four networks in "
        f"{row['seconds']:.0f} s; usual times were {row['noise']:.1%} above the least. "
        f"{row['machine']}, {versions}.",
        _WIDTH,
    )


def predicted() -> str:
    """How many plans took what was predicted, in one sentence."""
    rows = rows_of("planned")
    errors = [abs(row["measured"] / row["predicted"] - 1) for row in rows if "measured" in row]
    close = sum(error <= _CLOSE for error in errors)
    return fill(
        f"Of {len(errors)} plans, {close} took within {_CLOSE:.0%} of the predicted time; the "
        f"largest error is {max(errors):.0%}.",
        _WIDTH,
    )


def figure(rows: Sequence[Row]) -> Figure:
    """Measured against predicted shares, with the band of a tenth."""
    drawing = Figure(figsize=(5, 4.4), dpi=130)
    axes = drawing.subplots()
    found = [row for row in rows if "measured" in row]
    axes.scatter([row["predicted"] for row in found], [row["measured"] for row in found], zorder=3)
    ends = [0.4, 1.0]
    axes.plot(ends, ends, color="0.5", lw=0.8)
    axes.fill_between(ends, [0.36, 0.9], [0.44, 1.1], color="0.5", alpha=0.15)
    axes.set(xlabel="predicted time, of dense", ylabel="measured time, of dense")
    drawing.tight_layout()
    return drawing


SECTIONS = {
    "speed points": points,
    "speed profile": profile,
    "speed predicted": predicted,
    "speed rounded": rounded,
}

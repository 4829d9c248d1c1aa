"""The figures of the main path: the frontier, and predicted against measured losses."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks.measuring.results_file import Row, committed
from benchmarks.tables import speed
from benchmarks.tables.main_path import NAMES

FRONTIER = Path("docs/results/frontier.svg")
PREDICTED = Path("docs/results/predicted-measured.png")
DENSE = 91.73
INK = "#7d8590"  # readable on white and on black
COLOURS = {
    "ours": "#3f83f8",
    "balf_params": "#d9822b",
    "l2_channels": "#2f9e6e",
    "zero_sum_svd": "#c2507a",
    "svd_llm": "#9a66d4",
    "svd_uniform": INK,
}
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "lines.markersize": 4,
    "svg.fonttype": "none",
    "svg.hashsalt": "eckart",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "font.sans-serif": ["system-ui", "Helvetica", "Arial", "DejaVu Sans"],
}


def frontier(rows: Sequence[Row]) -> Figure:
    """One line per method, on a transparent background."""
    figure = Figure(figsize=(6, 4.6), layout="constrained")
    axes = figure.subplots()
    for method, colour in COLOURS.items():
        points = sorted((r["keep"], 100 * r["accuracy"]) for r in rows if r["method"] == method)
        width = 3 if method == "ours" else 1.5
        label = NAMES[method].strip("*")
        axes.plot(*zip(*points, strict=True), "o-", label=label, color=colour, linewidth=width)
    axes.axhline(DENSE, color=INK, linewidth=1, linestyle=":")
    axes.annotate(f"dense, {DENSE} %", (0.9, DENSE), (-4, 5), textcoords="offset points")
    axes.set(xlabel="fraction of the parameters kept", ylabel="accuracy on CIFAR-10, %")
    axes.set_ylim(5, 100)
    axes.invert_xaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=INK, alpha=0.2)
    figure.legend(frameon=False, fontsize=8, ncols=2, loc="outside lower center")
    return figure


def predicted_measured(rows: Sequence[Row]) -> Figure:
    """Scatter on logarithmic axes with the lines 1:1 and 1:5."""
    figure = Figure(figsize=(6, 5.2), dpi=130)
    axes = figure.subplots()
    for network in dict.fromkeys(row["network"] for row in rows):
        for whole, marker in ((False, "o"), (True, "*")):
            shown = [
                r
                for r in rows
                if r["network"] == network and r["what"].startswith("whole") == whole
            ]
            predicted, measured = ([r[k] for r in shown] for k in ("predicted", "measured"))
            label = f"{network}, {'whole plans' if whole else 'one layer'}"
            axes.scatter(predicted, measured, s=70 if whole else 16, marker=marker, label=label)
    low, high = axes.get_xlim()
    low = max(low, min(r["predicted"] for r in rows) / 2)
    for factor, style in ((1, "-"), (5, ":"), (0.2, ":")):
        axes.plot([low, high], [low * factor, high * factor], style, color="0.5", lw=0.8)
    axes.set(xscale="log", yscale="log", xlabel="predicted loss (half squared logits)")
    axes.set_ylabel("measured on held-out images")
    axes.legend(fontsize=8)
    figure.tight_layout()
    return figure


def draw() -> Iterator[Path]:
    """Draw all figures and yield their paths."""
    rows = [row for row in committed("frontier") if row["network"] == "resnet20"]
    with rc_context(STYLE):
        frontier(rows).savefig(FRONTIER, transparent=True, metadata={"Date": None})
    yield FRONTIER
    predicted_measured(committed("predicted-measured")).savefig(PREDICTED)
    yield PREDICTED
    speed.figure(speed.rows_of("planned")).savefig(speed.FIGURE)
    yield speed.FIGURE

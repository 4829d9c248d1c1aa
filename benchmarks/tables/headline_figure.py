"""The picture of the frontier: accuracy against parameters kept, ours beside the best-known rules.

python -m benchmarks.tables.headline_figure
"""

import json
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks.tables.pages import NAMES

ROWS = Path("benchmarks/results/resnet20.json")
PICTURE = Path("docs/results/frontier.svg")
DENSE = 91.73
INK = "#7d8590"  # read as well on white as on black
COLOURS = {
    "ours": "#3f83f8",
    "balf_params": "#d9822b",
    "l2_channels": "#2f9e6e",
    "zero_sum_svd": "#c2507a",
    "svd_llm": "#9a66d4",
    "svd_uniform": INK,
}
STYLE = {
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


def drawn(rows: list[dict]) -> Figure:
    """One line per method, on a ground that is not painted."""
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


def main() -> None:
    with rc_context(STYLE):
        figure = drawn(json.loads(ROWS.read_text()))
        figure.savefig(PICTURE, transparent=True, metadata={"Date": None})
    print(f"{PICTURE}: drawn anew")


if __name__ == "__main__":
    main()

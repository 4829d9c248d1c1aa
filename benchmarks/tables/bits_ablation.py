"""The tables of what each part of rounding is worth."""

from collections.abc import Callable, Sequence

from benchmarks.measuring.results_file import Row, committed
from benchmarks.tables.markdown import table

DEFAULT = ("sides", "both", 3)


def rows_of(factor: str) -> Sequence[Row]:
    """All rows of one factor, in the order in which they were measured."""
    return [row for row in committed("bits-ablation") if row["factor"] == factor]


def widths() -> str:
    """What was predicted of every width, relative to what rounding then lost."""
    lines = []
    for row in sorted(rows_of("width"), key=lambda row: row["bits"]):
        shown = [f"{value:.2f}" for value in row["ratios"]]
        whole = f"{row['predicted'] / row['rounded']:.2f}"
        lines.append([row["setting"], f"{row['rounded']:.3g}", whole, *shown])
    heads = ["", "loss", "predicted / loss", "least of a layer", "median", "largest"]
    return table(heads, lines)


def part(factor: str) -> Callable[[], str]:
    """Losses of the settings of one factor, relative to the default."""

    def made() -> str:
        usual = next(
            row
            for row in committed("bits-ablation")
            if (row["factor"], row["setting"], row["bits"]) == DEFAULT
        )
        lines = [
            [row["setting"], f"{row['elsewhere'] / usual['elsewhere']:.2f}"]
            for row in rows_of(factor)
            if row["bits"] == usual["bits"]
        ]
        return table([factor, "loss"], lines)

    return made


def seconds() -> str:
    """Of all widths, of a budget, and of rounding."""
    rows = committed("bits-seconds")
    lines = [[row["what"], f"{row['seconds']:.2g}"] for row in rows]
    return table(["ResNet-20", "seconds"], lines)


SECTIONS: dict[str, Callable[[], str]] = {
    "ablation width": widths,
    **{
        f"ablation {name}": part(name)
        for name in ("sides", "images", "images, inputs", "order", "damping")
    },
    "bits seconds resnet20": seconds,
}

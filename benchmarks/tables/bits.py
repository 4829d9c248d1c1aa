"""The tables of accuracy by bytes."""

from collections.abc import Callable, Sequence

from benchmarks.measuring.results_file import Row, committed
from benchmarks.tables.markdown import table

_CLOSE = 1e-3


def rows_of(network: str) -> Sequence[Row]:
    """All rows of one network."""
    return [row for row in committed("bits") if row["network"] == network]


def allocated(network: str) -> str:
    """Accuracy of plans within fractions of the bytes."""
    rows = [row for row in rows_of(network) if "limit" in row]
    limits = sorted({row["limit"] for row in rows}, reverse=True)
    cells = {(row["method"], row["limit"]): row for row in rows}
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        shown = [within(limit, cells.get((method, limit))) for limit in limits]
        seconds = cells[method, limits[0]]["curves_s"]
        name = f"**{method}**" if "and" in method else method
        lines.append([name, *shown, f"{seconds:.0f}"])
    return table(["offered", *(f"{limit:g}" for limit in limits), "seconds of `curves`"], lines)


def within(limit: float, row: Row | None) -> str:
    """The accuracy within a fraction of the bytes, with the fraction where it is another one."""
    shown = accuracy(row)
    if row is None or row.get("bytes", 0.0) < limit + _CLOSE:
        return shown
    return f"{shown} ({row['bytes']:.3f})"


def uniform(network: str) -> str:
    """Accuracy of all layers at one width."""
    rows = [row for row in rows_of(network) if "everywhere" in row["method"]]
    widths = {row["method"].partition(" ")[0]: row["bytes"] for row in rows}
    cells = {tuple(row["method"].split(" bits everywhere, ")): row for row in rows}
    ways = dict.fromkeys(way for _, way in cells)
    lines = [[way, *(accuracy(cells.get((bits, way))) for bits in widths)] for way in ways]
    heads = [f"{bits} bits ({share:.3f})" for bits, share in widths.items()]
    return table(["rounding", *heads], lines)


def packages() -> str:
    """Accuracy of what other packages make of ResNet-20, by bytes."""
    rows = [row for row in committed("bits-packages") if "accuracy" in row]
    lines = [[r["method"], f"{r['bytes']:.3f}", accuracy(r), f"{r['s']:.0f}"] for r in rows]
    return table(["package", "bytes", "accuracy", "seconds"], lines)


def accuracy(row: Row | None) -> str:
    """In percent; a dash where there is none."""
    return "–" if row is None or "accuracy" not in row else f"{100 * row['accuracy']:.2f}"


def section(make: Callable[[str], str], network: str) -> Callable[[], str]:
    """A table of one network."""
    return lambda: make(network)


NETWORKS = ("resnet20", "resnet32", "lenet5", "mlp", "residual-mlp")
SECTIONS = {
    **{f"bytes {name}": section(allocated, name) for name in NETWORKS},
    **{f"uniform {name}": section(uniform, name) for name in NETWORKS if name != "mlp"},
    "packages resnet20": packages,
}

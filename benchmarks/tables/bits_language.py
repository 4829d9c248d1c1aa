"""The tables of language models in few bits."""

from collections.abc import Callable, Sequence
from math import exp, log

from numpy import interp

from benchmarks.measuring.results_file import Row, committed
from benchmarks.tables.markdown import table

PACKAGES_TOKENS, BESIDE = 16_384, ("GPTQ", "inputs, shrunk", "both sides, shrunk")


def rows_of(network: str) -> tuple[float, Sequence[Row]]:
    """The dense perplexity, and all other rows of one network."""
    rows = [row for row in committed("bits-language") if row["network"] == network]
    (dense,) = (row["perplexity"] for row in rows if row["method"] == "dense")
    return dense, [row for row in rows if row["method"] != "dense" and "grid" not in row]


def multiples(network: str) -> str:
    """Perplexities as multiples of the dense one, by width and number of calibration tokens."""
    dense, rows = rows_of(network)
    cells = {
        (row["method"], row["width"], row["calibration"]): f"{row['perplexity'] / dense:.3f}"
        for row in rows
        if "width" in row
    }
    columns = sorted({key[1:] for key in cells}, key=lambda key: (-key[0], key[1]))
    heads = [f"{bits} bits, {tokens:,} tokens" for bits, tokens in columns]
    ways = dict.fromkeys(way for way, *_ in cells)
    lines = [[way, *(cells.get((way, *column), "–") for column in columns)] for way in ways]
    return table([f"dense perplexity {dense:.2f}", *heads], lines)


def divergences(network: str, bits: int) -> str:
    """What was predicted from two texts, and what was measured, at one width."""
    _, rows = rows_of(network)
    rows = [row for row in rows if row.get("width") == bits]
    cells = {(row["method"], row["calibration"]): row for row in rows}
    tokens = sorted({row["calibration"] for row in rows})

    def cell(way: str, count: int) -> str:
        row = cells[way, count]
        return f"{row['loss']:.3f} / {row['loss elsewhere']:.3f} / **{row['kl']:.3f}**"

    ways = dict.fromkeys(row["method"] for row in rows)
    lines = [[way, *(cell(way, count) for count in tokens)] for way in ways]
    return table([f"{bits} bits", *(f"{count:,} tokens" for count in tokens)], lines)


def allocated(network: str) -> str:
    """Multiples of the dense perplexity within some bits per weight."""
    dense, rows = rows_of(network)
    product = [row for row in committed("bits-compressed") if row["network"] == network]
    cells = {(row["method"], row["limit"]): row for row in [*rows, *product] if "limit" in row}
    limits = sorted({limit for _, limit in cells}, reverse=True)
    ways = dict.fromkeys(way for way, _ in cells)

    def cell(way: str, limit: float) -> str:
        row = cells.get((way, limit))
        return "–" if row is None else f"{row['perplexity'] / dense:.3f}"

    lines = [[way, *(cell(way, limit) for limit in limits)] for way in ways]
    return table(["widths and rounding by", *(f"{limit:g}" for limit in limits)], lines)


def grids(network: str) -> str:
    """Losses relative to plain codes of spans of 64 that are wider, to take as many bits."""
    rows = [row for row in committed("bits-language") if "grid" in row]
    cells = {(row["grid"], row["width"]): row for row in rows if row["network"] == network}
    plain = [row for (grid, _), row in sorted(cells.items()) if grid == "spans of 64"]
    known = [row["bits"] for row in plain], [log(row["loss elsewhere"]) for row in plain]
    shown = [width for _, width in cells if width < max(width for _, width in cells)]
    widths = list(dict.fromkeys(shown))

    def cell(grid: str, width: int) -> str:
        row = cells[grid, width]
        share = row["loss elsewhere"] / exp(float(interp(row["bits"], *known)))
        return f"{row['bits']:.2f}: {share:.2f}"

    titles = dict.fromkeys(grid for grid, _ in cells)
    lines = [[grid, *(cell(grid, width) for width in widths)] for grid in titles]
    return table(["grid", *(f"{width} bits" for width in widths)], lines)


def packages() -> str:
    """What packages make of the small network, beside the same width here."""
    rows = [*committed("bits-language-packages"), *rows_of("stories260k")[1]]
    dense, _ = rows_of("stories260k")
    shown = [row for row in rows if row.get("calibration") == PACKAGES_TOKENS and "width" in row]
    cells = {(row["method"], row["width"]): row for row in shown}
    ways = [row["method"] for row in committed("bits-language-packages") if row["width"] == 4]
    heads = [f"{bits} bits: {what}" for bits in (4, 3) for what in ("bits per weight", "×", "KL")]

    def line(way: str) -> list[str]:
        of = [cells[way, bits] for bits in (4, 3)]
        parts = [[r["bits"], r["perplexity"] / dense, r["kl"]] for r in of]
        return [way, *(f"{value:.3f}" for part in parts for value in part)]

    return table(["", *heads], [line(way) for way in (*ways, *BESIDE)])


def seconds() -> str:
    """Of each part of the rounding, for one width of all layers."""
    parts = {
        "triangles of all moments": "triangles_s",
        "grids": "grids_s",
        "rounding under A": "inputs_s",
        "rounding under A and G": "both sides_s",
    }
    (row,) = committed("rounding-seconds")
    return table(["part", "seconds"], [(what, f"{row[key]:.0f}") for what, key in parts.items()])


SECTIONS: dict[str, Callable[[], str]] = {
    "bits everywhere stories260k": lambda: multiples("stories260k"),
    "bits divergences stories260k": lambda: divergences("stories260k", 3),
    "bits allocated stories260k": lambda: allocated("stories260k"),
    "bits allocated SmolLM2-135M": lambda: allocated("SmolLM2-135M"),
    "bits seconds": seconds,
    "bits packages stories260k": packages,
    "bits grids stories260k": lambda: grids("stories260k"),
}

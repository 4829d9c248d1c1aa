"""The README's table, and the words around it that are figures."""

from collections.abc import Sequence

from benchmarks.measuring.results_file import Row, committed
from benchmarks.side_by_side.four_networks import NETWORKS
from benchmarks.tables.markdown import table

_HEAD = ("", "score", "MB", "ms, ONNX Runtime", "ms, PyTorch")


def four_networks() -> str:
    """One block of rows per network: dense, a peer, eckart by budget."""
    rows = committed("readme")
    lines: list[Sequence[str]] = []
    for name in NETWORKS:
        found = [row for row in rows if row["network"] == name]
        if found:
            first = found[0]
            examples = f"{first['examples']:,}"
            title = f"*{first['title']}* ({first['unit']}, {examples} examples; {first['inputs']})"
            lines += [(title, "", "", "", ""), *map(_line, found)]
    return table(_HEAD, lines)


def _line(row: Row) -> tuple[str, ...]:
    return (
        _variant(row["variant"]),
        f"{row['score']:.2f}",
        _three_digits(row["bytes"] / 1e6),
        _three_digits(row["ort_ms"]),
        _three_digits(row["torch_ms"]) if "torch_ms" in row else "–",
    )


def _variant(title: str) -> str:
    if title in ("dense", "peer"):
        return {"dense": "dense", "peer": "ONNX Runtime's quantiser, 8 bits"}[title]
    return f"**eckart**, `Budget({title})`"


def _three_digits(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


SECTIONS = {"four networks": four_networks}

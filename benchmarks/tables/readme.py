"""The README's table, and the words around it that are figures."""

from collections.abc import Sequence

from benchmarks.measuring.results_file import Row, committed
from benchmarks.side_by_side.four_networks import BITS_ALONE, NETWORKS
from benchmarks.tables.markdown import table

_HEAD = ("", "score", "MB, ONNX", "ms, ONNX Runtime", "MB, PyTorch", "ms, PyTorch")
_TITLES = {"dense": "dense", "peer": "8 bits by ONNX Runtime"}


def four_networks() -> str:
    """One block of rows per network: dense, a peer, eckart by budget."""
    lines: list[Sequence[str]] = []
    for name in NETWORKS:
        rows = [row for row in committed("readme") if row["network"] == name]
        if rows:
            score = f"{rows[0]['unit']}, {rows[0]['examples']:,} examples"
            lines.append((f"*{rows[0]['title']}*, {rows[0]['inputs']}", score, *[""] * 4))
            lines += map(_line, rows)
    return table(_HEAD, lines) if lines else "Not measured yet: `python -m benchmarks readme`."


def _line(row: Row) -> tuple[str, ...]:
    alone = ", bits alone" if row["network"] in BITS_ALONE else ""
    name = _TITLES.get(row["variant"], f"**eckart**, `Budget({row['variant']})`{alone}")
    return (
        name,
        f"{row['score']:.2f}",
        _short(row["onnx_bytes"] / 1e6),
        _short(row["ort_ms"]),
        _short(row["torch_bytes"] / 1e6) if "torch_bytes" in row else "–",
        _short(row["torch_ms"]) if "torch_ms" in row else "–",
    )


def _short(value: float) -> str:
    """A number with three digits."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


SECTIONS = {"four networks": four_networks}

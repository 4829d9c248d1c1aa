"""Tables of the benchmarks on language models and encoders, in Markdown."""

from collections.abc import Callable, Sequence
from typing import Any

Row = dict[str, Any]
TEXTS = ("WikiText-2", "Shakespeare")


def perplexities(rows: Sequence[Row]) -> str:
    """Multiples of the dense perplexity, on both texts, by method and fraction kept."""
    dense = {r["text"]: r["perplexity"] for r in rows if r["method"] == "dense"}
    cells = {(r["method"], r["keep"], r["text"]): r["perplexity"] / dense[r["text"]] for r in rows}
    keeps = sorted({r["keep"] for r in rows if r["method"] != "dense"}, reverse=True)

    def cell(method: str, keep: float) -> str:
        found = [cells.get((method, keep, text)) for text in TEXTS]
        return " / ".join(_multiple(value) for value in found if value is not None)

    head = " | ".join(f"{keep:g}" for keep in keeps)
    title = ", ".join(f"{text} {dense[text]:.1f}" for text in TEXTS)
    tokens = next(r["tokens"] for r in rows)
    lines = [
        f"| dense perplexity on {tokens:,} tokens each: {title} | {head} |",
        "|---" * (len(keeps) + 1) + "|",
    ]
    for method in dict.fromkeys(r["method"] for r in rows if r["method"] != "dense"):
        lines.append(_line(method, [cell(method, keep) for keep in keeps]))
    return "\n".join(lines)


def correlations(rows: Sequence[Row]) -> str:
    """Spearman's correlation in percent by method and fraction kept."""
    dense = next(r for r in rows if r["method"] == "dense")
    cells = {(r["method"], r["keep"]): r["spearman"] for r in rows}
    keeps = sorted({r["keep"] for r in rows if r["method"] != "dense"}, reverse=True)
    head = " | ".join(f"{keep:g}" for keep in keeps)
    lines = [
        f"| dense {100 * dense['spearman']:.2f}, {dense['pairs']:,} pairs | {head} |",
        "|---" * (len(keeps) + 1) + "|",
    ]
    for method in dict.fromkeys(r["method"] for r in rows if r["method"] != "dense"):
        lines.append(_line(method, [f"{100 * cells[method, keep]:.2f}" for keep in keeps]))
    return "\n".join(lines)


def _multiple(value: float) -> str:
    if value < 100:
        return f"{value:.2f}"
    return f"{value:,.0f}" if value < 10_000 else f"{value:.0e}"


def _line(method: str, texts: Sequence[str]) -> str:
    name = method.replace("eckart", "**eckart**")
    return f"| {name} | " + " | ".join(texts) + " |"


MAKERS: dict[str, tuple[str, Callable[[Sequence[Row]], str]]] = {
    "language models": ("language-models", perplexities),
    "sentence embeddings": ("sentence-embeddings", correlations),
}
"""What is between the markers: the file of the results, and how its table is made."""

"""Tables of the benchmarks on language models and encoders, in Markdown."""

from collections.abc import Callable, Sequence
from itertools import product

from benchmarks.language.token_metrics import METRICS, SUBJECTS
from benchmarks.measuring.results_file import Row, committed
from benchmarks.subjects.language import KEEPS
from benchmarks.tables.markdown import table

TEXTS = ("WikiText-2", "Shakespeare")


def perplexities(rows: Sequence[Row]) -> str:
    """Multiples of the dense perplexity, on both texts, by method and fraction kept."""
    dense = {r["text"]: r["perplexity"] for r in rows if r["method"] == "dense"}
    cells = {(r["method"], r["keep"], r["text"]): r["perplexity"] / dense[r["text"]] for r in rows}

    def cell(method: str, keep: float) -> str:
        found = [cells.get((method, keep, text)) for text in TEXTS]
        return " / ".join(_multiple(value) for value in found if value is not None) or "–"

    title = ", ".join(f"{text} {dense[text]:.1f}" for text in TEXTS)
    tokens = next(r["tokens"] for r in rows)
    least = min(r["keep"] for r in rows)
    worst_first = sorted(rows, key=lambda r: -cells.get((r["method"], least, TEXTS[0]), 0.0))
    return _by_method(f"dense perplexity on {tokens:,} tokens each: {title}", worst_first, cell)


def embeddings(rows: Sequence[Row]) -> str:
    """Spearman's correlation in percent, its drop's error, and the change of the embedding."""
    dense = next(r for r in rows if r["method"] == "dense")
    cells = {(r["method"], r["keep"]): r for r in rows}
    title = f"dense {100 * dense['spearman']:.2f}, {dense['pairs']:,} pairs"

    def cell(method: str, keep: float) -> str:
        row = cells[method, keep]
        spread = f"{100 * row['spearman']:.2f} ± {100 * row['drop_error']:.2f}"
        return f"{spread} ({1000 * row['change']:.1f})"

    return _by_method(title, rows, cell)


def beyond_half(rows: Sequence[Row]) -> str:
    """Each drop minus half of the peer's, in points, with its error."""
    cells = {(r["method"], r["keep"]): r for r in rows}

    def cell(method: str, keep: float) -> str:
        row = cells[method, keep]
        return f"{100 * row['excess']:+.2f} ± {100 * row['excess_error']:.2f}"

    return _by_method("drop minus half of SVD-LLM's", [r for r in rows if "excess" in r], cell)


def _multiple(value: float) -> str:
    if value < 100:
        return f"{value:.2f}"
    return f"{value:,.0f}" if value < 10_000 else f"{value:.0e}"


def _by_method(title: str, rows: Sequence[Row], cell: Callable[[str, float], str]) -> str:
    """One row per method except the dense network, one column per fraction."""
    made = [row for row in rows if row["method"] != "dense"]
    keeps = sorted({row["keep"] for row in made}, reverse=True)
    methods = dict.fromkeys(row["method"] for row in made)
    lines = [
        [method.replace("eckart", "**eckart**"), *(cell(method, keep) for keep in keeps)]
        for method in methods
    ]
    return table([title, *(f"{keep:g}" for keep in keeps)], lines)


def token_metrics(rows: Sequence[Row]) -> str:
    """Multiples of the dense perplexity."""
    lines = []
    for network, (_, rescalings) in SUBJECTS.items():
        for rescale, (metric, title) in product(rescalings, METRICS.items()):
            key = {"network": network, "metric": metric, "rescale": rescale}
            found = {
                r["keep"]: r["perplexity"] / r["dense"] for r in rows if key.items() <= r.items()
            }
            name = f"{title}, rescaled" if rescale else title
            lines.append((network, name, *(f"{found[keep]:.2f}" for keep in KEEPS)))
    return table(("network", "`G` by", *(f"{keep:g}" for keep in KEEPS)), lines)


SECTIONS: dict[str, Callable[[], str]] = {
    "language models": lambda: perplexities(committed("language-models")),
    "sentence embeddings": lambda: embeddings(committed("sentence-embeddings")),
    "beyond half": lambda: beyond_half(committed("sentence-embeddings")),
    "token metrics": lambda: token_metrics(committed("token-metrics")),
}

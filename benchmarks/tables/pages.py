"""Put the committed results into the documents, between their markers.

python -m benchmarks.tables.pages
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.factorisation_kit import shapes
from benchmarks.language import token_metrics
from benchmarks.tables import channels as channel_tables
from benchmarks.tables import decompositions as decomposition_tables
from benchmarks.tables import healing as healing_tables
from benchmarks.tables import language as language_tables
from benchmarks.tables.markdown import table
from benchmarks.tables.studies import studies

RESULTS = Path("benchmarks/results")
PAGES = (
    "README.md",
    "docs/transformers.md",
    "docs/results/main-path.md",
    "docs/results/channels.md",
    "docs/results/factorisation-kit.md",
    "docs/results/healing.md",
)
NAMES = {
    "ours": "**eckart**",
    "ours_cp": "**eckart**, `cp` offered too",
    "ours_factors": "eckart, factors only (low rank, spatial)",
    "ours_channels": "eckart, fewer channels only",
    "ours_low_rank": "eckart, low rank only",
    "ours_a_only": "eckart, low rank, `A` only",
    "ours_macs": "**eckart**, columns are MACs",
    "ours_cp_macs": "**eckart**, `cp` offered too, columns are MACs",
    "ours_factors_macs": "eckart, factors only, columns are MACs",
    "ours_channels_macs": "eckart, fewer channels only, columns are MACs",
    "balf_params": "BALF's rule",
    "balf_macs": "BALF's rule, columns are MACs",
    "zero_sum_svd": "Zero-Sum SVD, no correction",
    "svd_llm": "activation-weighted, uniform (SVD-LLM)",
    "svd_global": "SVD, global",
    "asvd": "ASVD",
    "fwsvd": "FWSVD",
    "svd_uniform": "SVD, uniform",
    "tucker2_uniform": "Tucker-2, uniform",
    "l2_channels": "L2 channels + least squares (AIMET)",
    "torch_pruning_taylor": "Torch-Pruning, Taylor",
    "torch_pruning_l2": "Torch-Pruning, L2",
}
LEARNED = {
    "learned": "ranks learned while training",
    "eckart.compress": "trained dense, then `eckart.compress`",
    "svd": "trained dense, then SVD at those ranks",
    "learned, trained on": "ranks learned, then 5,000 iterations more",
    "eckart.compress, trained on": "`eckart.compress`, then 5,000 iterations more",
    "from the start, svd": "factors trained from the start, by SVD",
    "from the start, random": "factors trained from the start, random",
}


def frontier(network: str) -> str:
    """Accuracy in percent, the fraction of MACs in brackets, by method and kept fraction."""
    rows = json.loads((RESULTS / f"{network}.json").read_text())
    keeps = sorted({row["keep"] for row in rows}, reverse=True)
    cells = {(row["method"], row["keep"]): row for row in rows}
    lines = []
    for method in (name for name in NAMES if any(row["method"] == name for row in rows)):
        found = [cells.get((method, keep)) for keep in keeps]
        texts = [f"{100 * r['accuracy']:.1f} ({r['macs']:.2f})" if r else "" for r in found]
        lines.append((NAMES[method], *texts))
    return table(("method", *(f"{keep:g}" for keep in keeps)), lines)


def metrics() -> str:
    """Accuracy by output metric, network and kept fraction."""
    rows = json.loads((RESULTS / "metrics.json").read_text())
    columns = list(dict.fromkeys((row["network"], row["keep"]) for row in rows))
    cells = {(r["metric"], r["network"], r["keep"]): r["accuracy"] for r in rows}
    lines = []
    for metric in dict.fromkeys(row["metric"] for row in rows):
        texts = [f"{100 * cells[(metric, *column)]:.1f}" for column in columns]
        lines.append((metric, *texts))
    return table(("metric of `G`", *(f"{n}, {k:g}" for n, k in columns)), lines)


def headline() -> str:
    """The README's table: ours and the best-known rules on ResNet-20."""
    rows = json.loads((RESULTS / "resnet20.json").read_text())
    cells = {(row["method"], row["keep"]): row["accuracy"] for row in rows}
    keeps = (0.7, 0.5, 0.3)
    lines = []
    peers = ("svd_uniform", "svd_llm", "zero_sum_svd", "balf_params", "l2_channels")
    for method in (*peers, "ours", "ours_cp"):
        texts = [f"{100 * cells[method, keep]:.1f}" for keep in keeps]
        lines.append((NAMES[method], *texts))
    return table(("ResNet-20 (91.73 %), parameters kept", *map(str, keeps)), lines)


def ratios() -> str:
    """How far measured losses are from predicted ones."""
    rows = json.loads((RESULTS / "predicted_measured.json").read_text())
    found = sorted(row["measured"] / row["predicted"] for row in rows)
    inside = sum(0.2 <= ratio <= 5 for ratio in found)
    return (
        f"Measured over predicted, {len(found)} changes: median {found[len(found) // 2]:.2f}, "
        f"from {found[0]:.2f} to {found[-1]:.2f}; {inside} of {len(found)} within a factor of 5."
    )


def costs() -> str:
    """Seconds of each stage on ResNet-20."""
    row = json.loads((RESULTS / "seconds.json").read_text())
    lines = [
        f"ResNet-20, {row['images']} images in batches of {row['batch']}, {row['threads']} "
        "threads, medians of interleaved rounds:",
        "",
        "| what | seconds | of a plain forward and backward pass |",
        "|---|---|---|",
        f"| plain forward and backward | {row['plain_forward_backward_s']:.2f} | 1 |",
        f"| calibration, `A` alone | {row['calibrate_a_s']:.2f} | {row['factor_a']:.2f} |",
        f"| calibration, `A` and `G` | {row['calibrate_a_and_g_s']:.2f} "
        f"| {row['factor_a_and_g']:.2f} |",
        "",
        "| then | factors alone | factors and channels |",
        "|---|---|---|",
        *(f"| {what} | {one} | {both} |" for what, one, both in _after(row["families"])),
        "",
        f"The moments take {row['moments_mb']:.1f} MB.",
    ]
    return "\n".join(lines)


def _after(families: dict[str, dict[str, float]]) -> Iterator[tuple[str, ...]]:
    columns = [families[name] for name in ("factors", "both")]
    yield "options", *(f"{column['options']:,}" for column in columns)
    for what, key in (
        ("all of them with their losses", "curves_s"),
        ("20 budgets allocated", "allocate_20_budgets_s"),
        ("the whole hull of the frontier", "hull_s"),
        ("one plan applied", "apply_half_s"),
    ):
        yield what, *(f"{column[key]:.2f} s" for column in columns)


def channels(name: str) -> str:
    """A table of `benchmarks.channels.lenet_channels`."""
    report = json.loads((RESULTS / "lenet-channels.json").read_text())
    return channel_tables.MAKERS[name](report)


def learned_factors() -> str:
    """Accuracy of small factors by how they came about, one column for each size."""
    rows = json.loads((RESULTS / "learned-factors.json").read_text())
    dense, learned = rows[0], [row for row in rows if row["way"] == "learned"]
    cells = {(row["way"], row["price"]): row["accuracy"] for row in rows}
    ranks = (", ".join(map(str, row["ranks"].values())) for row in learned)
    title = f"{dense['params']:,} parameters dense: {100 * dense['accuracy']:.2f}"
    lines = [
        ("price of a parameter, nats", *(f"{row['price']:g}" for row in learned)),
        ("ranks learned", *ranks),
    ]
    for way in dict.fromkeys(row["way"] for row in rows[1:]):
        texts = (f"{100 * cells[way, row['price']]:.2f}" for row in learned)
        lines.append((LEARNED[way], *texts))
    return table((title, *(f"{row['params']:,}" for row in learned)), lines)


def healing(name: str) -> str:
    """A table of `benchmarks.healing.healing`."""
    return healing_tables.MAKERS[name](json.loads((RESULTS / "healing.json").read_text()))


def decompositions(name: str) -> str:
    """A table of `benchmarks.factorisation_kit.decompositions`."""
    report = json.loads((RESULTS / "decompositions.json").read_text())
    return decomposition_tables.MAKERS[name](report)


def language(name: str) -> str:
    """A table of a benchmark on transformers."""
    file, make = language_tables.MAKERS[name]
    return make(json.loads((RESULTS / f"{file}.json").read_text()))


SECTIONS: dict[str, Callable[[], str]] = {
    "resnet20": lambda: frontier("resnet20"),
    "resnet32": lambda: frontier("resnet32"),
    "lenet5": lambda: frontier("lenet5"),
    "metrics": metrics,
    "ratios": ratios,
    "costs": costs,
    "headline": headline,
    "studies": studies,
    "learned factors": learned_factors,
    "token metrics": lambda: token_metrics.table(
        json.loads((RESULTS / "token-metrics.json").read_text())
    ),
    **{name: partial(language, name) for name in language_tables.MAKERS},
    "shapes": lambda: shapes.table(json.loads((RESULTS / "shapes.json").read_text())),
    **{f"channels {name}": partial(channels, name) for name in channel_tables.MAKERS},
    **{
        f"decompositions {name}": partial(decompositions, name)
        for name in decomposition_tables.MAKERS
    },
    **{f"healing {name}": partial(healing, name) for name in healing_tables.MAKERS},
}


def filled(text: str) -> str:
    """The text with the content between each pair of markers made anew."""
    for name, make in SECTIONS.items():
        start, end = f"<!-- {name} -->", f"<!-- end {name} -->"
        if start in text:
            before, _, rest = text.partition(start)
            text = f"{before}{start}\n{make()}\n{end}{rest.partition(end)[2]}"
    return text


def main() -> None:
    for path in map(Path, PAGES):
        path.write_text(filled(path.read_text()))
        print(f"{path}: tables made anew")


if __name__ == "__main__":
    main()

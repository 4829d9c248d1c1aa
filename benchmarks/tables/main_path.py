"""Tables of the main path: image networks at every budget, output metrics, costs."""

from collections.abc import Callable, Iterator
from functools import partial
from textwrap import fill

from benchmarks.measuring.results_file import Row, committed
from benchmarks.subjects.reference import NETWORKS
from benchmarks.tables.markdown import table

NAMES = {
    "ours": "**eckart**",
    "ours_without_cp": "eckart, without `cp`",
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

_WIDTH = 120


def frontier(network: str) -> str:
    """Accuracy in percent, the fraction of MACs in brackets, by method and kept fraction."""
    rows = [row for row in committed("frontier") if row["network"] == network]
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
    rows = committed("output-metrics")
    columns = list(dict.fromkeys((row["network"], row["keep"]) for row in rows))
    cells = {(r["metric"], r["network"], r["keep"]): r["accuracy"] for r in rows}
    lines = []
    for metric in dict.fromkeys(row["metric"] for row in rows):
        texts = [f"{100 * cells[(metric, *column)]:.1f}" for column in columns]
        lines.append((metric, *texts))
    return table(("metric of `G`", *(f"{n}, {k:g}" for n, k in columns)), lines)


def outputs() -> str:
    """The relative error of each head in percent, by what counts as a change of the outputs."""
    rows = committed("outputs")
    by_head: dict[tuple[str, str, float], dict[str, list[float]]] = {}
    for row in rows:
        found = by_head.setdefault((row["network"], row["head"], row["keep"]), {})
        found.setdefault(row["metric"], []).append(100 * row["error"])
    lines = []
    for (network, head, keep), errors in by_head.items():
        columns = ("default", "sum, not scaled", f"{head} alone", "first, mean removed")
        means = [sum(errors[c]) / len(errors[c]) if c in errors else None for c in columns]
        texts = ["" if mean is None else f"{mean:.2g}" for mean in means]
        lines.append((f"{network}: {head}", f"{keep:g}", *texts))
    heads = ("default", "sum, not scaled", "this head alone", "first output, centred")
    return table(("network: head", "kept", *heads), lines)


def equal_parameters() -> str:
    """The README's sentence: ours and the best-known rules at half of ResNet-20's parameters."""
    rows = {row["method"]: row for row in committed("frontier") if _is_half(row)}
    best = ("balf_params", "l2_channels", "zero_sum_svd", "svd_llm", "svd_uniform")
    others = ", ".join(f"{NAMES[name]} {_percent(rows[name])}" for name in best)
    return fill(
        f"At half of the parameters of ResNet-20, eckart keeps {_percent(rows['ours'])} % of "
        f"{rows['ours']['images']:,} images. Other rules at equal parameters: {others}.",
        _WIDTH,
    )


def _is_half(row: Row) -> bool:
    return {"network": "resnet20", "keep": 0.5}.items() <= row.items()


def _percent(row: Row) -> str:
    return f"{100 * row['accuracy']:.1f}"


def ratios() -> str:
    """How far measured losses are from predicted ones."""
    rows = committed("predicted-measured")
    found = sorted(row["measured"] / row["predicted"] for row in rows)
    inside = sum(0.2 <= ratio <= 5 for ratio in found)
    return (
        f"Measured over predicted, {len(found)} changes: median {found[len(found) // 2]:.2f}, "
        f"from {found[0]:.2f} to {found[-1]:.2f}; {inside} of {len(found)} within a factor of 5."
    )


def costs() -> str:
    """Seconds of each stage on ResNet-20."""
    row = committed("calibration-cost")
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


SECTIONS: dict[str, Callable[[], str]] = {
    **{network: partial(frontier, network) for network in NETWORKS},
    "metrics": metrics,
    "outputs": outputs,
    "ratios": ratios,
    "costs": costs,
    "equal parameters": equal_parameters,
}

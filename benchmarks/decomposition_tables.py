"""Tables of what `benchmarks.decompositions` measured, in Markdown."""

from typing import Any

Report = dict[str, list[dict[str, Any]]]


def ranks(report: Report) -> str:
    """All ranks of a layer."""
    lines = ["| shape | `torch.linalg.svd` | Gram |", "|---|---|---|"]
    for r in report["ranks"]:
        lines.append(f"| {r['out']}×{r['inputs']} | {r['lapack_ms']:.3g} | {r['gram_ms']:.3g} |")
    return "\n".join(lines)


def components(report: Report) -> str:
    """One rank against the whole curve."""
    lines = [
        "| n | components, ms | whole curve, ms | loss over the optimum |",
        "|---|---|---|---|",
    ]
    for r in report["components"]:
        times = f"{r['components_ms']:.0f} | {r['curve_ms']:.0f}"
        lines.append(f"| {r['n']} | {times} | {r['over']:.5f} |")
    return "\n".join(lines)


def eigenvalues(report: Report) -> str:
    """The largest eigenvalue."""
    lines = [
        "| n | `largest_eigenvalue`, ms | products | `eigvalsh`, ms | `eigh`, ms |",
        "|---|---|---|---|---|",
    ]
    for r in report["eigenvalues"]:
        times = f"{r['ours_ms']:.3g} | {r['products']} | {r['eigvalsh_ms']:.3g}"
        lines.append(f"| {r['n']} | {times} | {r['eigh_ms']:.3g} |")
    return "\n".join(lines)


MAKERS = {"ranks": ranks, "components": components, "eigenvalues": eigenvalues}

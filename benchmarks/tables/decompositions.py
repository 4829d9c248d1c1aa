"""Tables of what `benchmarks.factorisation_kit.decompositions` measured, in Markdown."""

from typing import Any

from benchmarks.tables.markdown import table

Report = dict[str, list[dict[str, Any]]]


def ranks(report: Report) -> str:
    """All ranks of a layer."""
    head = ("shape", "`torch.linalg.svd`", "Gram")
    return table(
        head,
        [
            (f"{r['out']}×{r['inputs']}", f"{r['lapack_ms']:.3g}", f"{r['gram_ms']:.3g}")
            for r in report["ranks"]
        ],
    )


def components(report: Report) -> str:
    """One rank against the whole curve."""
    head = ("n", "components, ms", "whole curve, ms", "loss over the optimum")
    return table(
        head,
        [
            (str(r["n"]), f"{r['components_ms']:.0f}", f"{r['curve_ms']:.0f}", f"{r['over']:.5f}")
            for r in report["components"]
        ],
    )


def eigenvalues(report: Report) -> str:
    """The largest eigenvalue."""
    head = ("n", "`largest_eigenvalue`, ms", "products", "`eigvalsh`, ms", "`eigh`, ms")
    rows = []
    for r in report["eigenvalues"]:
        ours, values, vectors = (f"{r[k]:.3g}" for k in ("ours_ms", "eigvalsh_ms", "eigh_ms"))
        rows.append((str(r["n"]), ours, str(r["products"]), values, vectors))
    return table(head, rows)


MAKERS = {"ranks": ranks, "components": components, "eigenvalues": eigenvalues}

"""Tables of the factorisation kit."""

from collections.abc import Callable

from benchmarks.factorisation_kit.shapes import BUDGETS
from benchmarks.measuring.results_file import committed
from benchmarks.tables.markdown import table

LEARNED = {
    "learned": "ranks learned while training",
    "eckart.compress": "trained dense, then `eckart.compress`",
    "svd": "trained dense, then SVD at those ranks",
    "learned, trained on": "ranks learned, then 5,000 iterations more",
    "eckart.compress, trained on": "`eckart.compress`, then 5,000 iterations more",
    "from the start, svd": "factors trained from the start, by SVD",
    "from the start, random": "factors trained from the start, random",
}

_REMOVED = "pointwise first"
"""A method that was measured and is not in eckart any more."""


def ranks() -> str:
    """All ranks of a layer."""
    head = ("shape", "`torch.linalg.svd`", "Gram")
    return table(
        head,
        [
            (f"{r['out']}×{r['inputs']}", f"{r['lapack_ms']:.3g}", f"{r['gram_ms']:.3g}")
            for r in committed("decompositions")["ranks"]
        ],
    )


def components() -> str:
    """One rank against the whole curve."""
    head = ("n", "components, ms", "whole curve, ms", "loss over the optimum")
    return table(
        head,
        [
            (str(r["n"]), f"{r['components_ms']:.0f}", f"{r['curve_ms']:.0f}", f"{r['over']:.5f}")
            for r in committed("decompositions")["components"]
        ],
    )


def eigenvalues() -> str:
    """The largest eigenvalue."""
    head = ("n", "`largest_eigenvalue`, ms", "products", "`eigvalsh`, ms", "`eigh`, ms")
    rows = []
    for r in committed("decompositions")["eigenvalues"]:
        ours, values, vectors = (f"{r[k]:.3g}" for k in ("ours_ms", "eigvalsh_ms", "eigh_ms"))
        rows.append((str(r["n"]), ours, str(r["products"]), values, vectors))
    return table(head, rows)


def shapes() -> str:
    """Accuracy in percent by the methods offered and the budget."""
    found = committed("shapes")
    cells = {(row["offered"], row["metric"], row["keep"]): row for row in found}
    titles = [f"{keep:g} {'MACs' if metric == 'macs' else metric}" for metric, keep in BUDGETS]
    lines = []
    for name in dict.fromkeys(row["offered"] for row in found):
        own = [cells[name, metric, keep] for metric, keep in BUDGETS]
        texts = [f"{100 * row['accuracy']:.1f}" for row in own]
        shown = name.replace(_REMOVED, f"{_REMOVED} (removed since)")
        lines.append((shown, *texts, f"{own[0]['options']:,}"))
    return table(("offered", *titles, "options"), lines)


def learned_factors() -> str:
    """Accuracy of small factors by how they were made, one column per size."""
    rows = committed("learned-factors")
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


SECTIONS: dict[str, Callable[[], str]] = {
    "decompositions ranks": ranks,
    "decompositions components": components,
    "decompositions eigenvalues": eigenvalues,
    "shapes": shapes,
    "learned factors": learned_factors,
}

"""Study 2: how little of a 4-10-3 network Iris needs.

python examples/iris_rank.py

The network is the notebook's: standardised inputs, 80/20 split with seed 42, gradient descent with
step size 0.1, 1,000 steps on the whole training set; seed 42, and nine others. Here: its printed
matrices, the first layer at rank 2 and trained again, the smallest ranks that accuracy and AUC
allow, and the network U·core·V, trained in that form or taken from the trained weights.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import partial
from itertools import product
from statistics import mean

import torch
from torch import nn

import eckart
from study_kit.comparison import Figure, comparison
from study_kit.flowers import (
    PRINTED,
    Data,
    as_printed,
    core_network,
    cut_in_place,
    dense,
    iris,
    network,
    product_of,
    trained,
)
from study_kit.opening import Line, opening
from study_kit.study import Row, Study, begin, table

SEED = 42
TOLERANCE = 0.05
METRICS = {"accuracy": eckart.accuracy, "AUC": eckart.scores.auc}
DENSE, RANK_TWO = "dense", "first layer at rank 2"
AS_MATRIX = "… trained again as one matrix"
BIASED = "U·core·V with biases between, rank 1, learned"
OURS = "eckart, both layers, no larger"


def main(arguments: Sequence[str] | None = None) -> None:
    study = begin("iris-rank", None, arguments)
    data, steps = iris(), 50 if study.quick else 1000
    others = range(study.seed, study.seed + 9)
    seeds = (SEED,) if study.quick else (SEED, *others)
    how = networks, dense, seeds, steps
    rows = study.rows(
        "networks", lambda: [r for s in seeds for r in networks(data, s, steps)], *how
    )
    search = study.rows("search", lambda: searched(dense(data, SEED, steps), data), searched, *how)
    printed = study.rows("printed", partial(as_printed, data, SEED, steps), *how)
    printed = {row["what"]: row for row in printed}
    first = {row["network"]: row for row in rows if row["seed"] == SEED}
    study.put("opening", opening(list(lines(first))))
    study.put("figures", comparison(list(figures(first, search, printed, len(data.train[1])))))
    study.put("matrices", matrices(printed))
    head = ("layer", "metric", "largest rank", "rank", "gap", "parameters saved", "evaluations")
    keys = ("layer", "metric", "largest", "rank", "gap", "saved", "evaluations")
    study.put("search", table(head, [[row[key] for key in keys] for row in search]))
    compare(study, rows, first)
    study.put(
        "run",
        f"Seed 42, as the notebook, and seeds {others[0]} to {others[-1]}, one run; "
        f"{study.minutes():.1f} minutes of processor time on one thread.\n"
        f"Accuracies are of {len(data.test[1])} test flowers, so one flower is "
        f"{100 / len(data.test[1]):.2f} points.",
    )


def networks(data: Data, seed: int, steps: int) -> Iterator[Row]:
    """All networks of one seed."""
    model = dense(data, seed, steps)
    biased, drawn = core_network(), network()
    again, two = deepcopy(model), eckart.factorize(model, {"0": 2})
    cut_in_place(again, 2)
    cut = eckart.factorize(model, {"0": 1}, core=True)
    learned = eckart.factorize(drawn, {"0": 1}, core=True)
    budget = eckart.Budget(params=60, macs=45)  # what U·core·V with its biases takes
    best = eckart.compress(model, [data.train], budget=budget, progress=False).model
    found = {
        DENSE: model,
        RANK_TWO: two,
        AS_MATRIX: trained(again, data, steps),
        "… trained again as factors": trained(deepcopy(two), data, steps),
        "U·core·V, rank 1, from the weights": cut,
        "… and 100 more steps": trained(deepcopy(cut), data, min(100, steps)),
        "U·core·V, rank 1, learned": trained(learned, data, steps),
        BIASED: trained(biased, data, steps),
        OURS: best,
    }
    weight = model[0].weight.detach()
    for name, small in found.items():
        cost = eckart.measure(small, data.test[0][:1], latency=False)
        scores = {key: metric([data.test])(small).value for key, metric in METRICS.items()}
        first = product_of(small)
        yield {
            "seed": seed, "network": name, "params": cost.params, "macs": cost.macs,
            "accuracy": scores["accuracy"], "auc": scores["AUC"], "images": len(data.test[1]),
            "rank": int(torch.linalg.matrix_rank(first, rtol=1e-5)),
            "distance": float((first - weight).norm() / weight.norm())
            if first.shape == weight.shape else None,
        }  # fmt: skip


def searched(model: nn.Module, data: Data) -> Iterator[Row]:
    """The smallest rank of each layer by each metric, from 1 to mn / (m + n)."""
    for layer, (metric, evaluate) in product(("0", "2"), METRICS.items()):
        found = eckart.find_rank(model, layer, evaluate([data.train]), tolerance=TOLERANCE)
        m, n = model.get_submodule(layer).weight.shape
        yield {
            "layer": layer, "metric": metric, "largest": m * n // (m + n),
            "rank": "dense" if found.rank is None else found.rank,
            "gap": f"{found.search.gap:.4f}",
            "saved": f"{found.search.saved_params} of {found.search.dense_params}",
            "evaluations": found.search.evaluations,
        }  # fmt: skip


def lines(first: dict[str, Row]) -> Iterator[Line]:
    """The notebook's accuracies on the test flowers, and the same here, seed 42."""
    yield Line("dense", 1.0, first[DENSE])
    yield Line("rank 2, not trained again", None, first[RANK_TWO], first[OURS])
    yield Line("rank 2, trained again", 1.0, first[AS_MATRIX], first[OURS])
    yield Line("U·core·V with biases between", None, first[BIASED], first[OURS])


def figures(
    first: dict[str, Row], search: Sequence[Row], printed: dict[str, Row], flowers: int
) -> Iterator[Figure]:
    """The notebook's other figures: sizes, FLOPs, ranks, and how far our matrices are from its."""
    dense_one, biased, ours = (first[name] for name in (DENSE, BIASED, OURS))
    flops = lambda row: f"{flowers * row['macs']:,}"  # noqa: E731
    sizes = (f"{row['params']:,}" for row in (dense_one, biased, ours))
    yield Figure("parameters, dense", "83", next(sizes))
    yield Figure("parameters, U·core·V", "60", next(sizes), next(sizes))
    yield Figure("FLOPs for the training set, dense", "8.4 K", flops(dense_one))
    yield Figure("FLOPs for the training set, U·core·V", "5.4 K", flops(biased), flops(ours))
    yield Figure("largest rank searched", "2", str(search[0]["largest"]))
    yield Figure("smallest rank by accuracy", "1", str(search[0]["rank"]))
    for name, what in PRINTED.items():
        yield Figure(f"largest difference: {what}", "", f"{printed[name]['difference']:.1g}")
    for name, what in (("original", "the original weights"), ("again", "those trained again")):
        values = ", ".join(f"{value:.3f}" for value in printed[name]["values"])
        yield Figure(f"singular values of {what}", "", values)
    size = printed["core"]
    draws = f"drawn {size['middle']:.2f} (median of 1,000), trained {size['learned']:.2f}"
    yield Figure("largest entry of U·core·V", "0.08", draws)


def matrices(printed: dict[str, Row]) -> str:
    """The first layer as printed: the original weights, at rank 2, and trained again."""
    names = ("original", "two", "again")
    rows = zip(*(printed[name]["matrix"] for name in names), strict=True)
    lines = ["   ".join(" ".join(f"{v:7.4f}" for v in part) for part in row) for row in rows]
    return "\n".join(["```", *lines, "```"])


def compare(study: Study, rows: Sequence[Row], first: dict[str, Row]) -> None:
    """Write what each network costs and gives, the mean of all seeds and the notebook's seed."""
    head = ("network", "parameters", "MACs", "accuracy", "accuracy, seed 42", "AUC",
            "rank of the first layer", "distance from dense")  # fmt: skip
    cells = []
    for name in first:
        of = [row for row in rows if row["network"] == name]
        params, macs, accuracy, auc = (
            mean(row[key] for row in of) for key in ("params", "macs", "accuracy", "auc")
        )
        apart = [row["distance"] for row in of if row["distance"] is not None]
        cells.append(
            (name, f"{params:.4g}", f"{macs:.4g}", f"{accuracy:.4f}",
             f"{first[name]['accuracy']:.4f}", f"{auc:.4f}", first[name]["rank"],
             f"{mean(apart):.2f}" if len(apart) == len(of) else None)
        )  # fmt: skip
    study.put("networks", table(head, cells))
    with study.figure("scores", panels=2, sharex=True) as axes:
        for axis, column, name in zip(axes, (3, 5), METRICS, strict=True):
            for cell in cells:
                axis.plot(float(cell[1]), float(cell[column]), "o", label=cell[0])
            axis.set(xlabel="parameters, mean", ylabel=f"test {name}, mean")


if __name__ == "__main__":
    main()

"""Study 1: a fully connected network on MNIST, 784-1000-1000-10, its hidden matrix at low rank.

python examples/mlp_mnist.py --data ../data/mnist

As in the notebook, plain gradient descent (step size 0.25, batch 90, 7 passes, which are 4,669 of
the 5,000 iterations that it asks for) trains a dense network and two whose hidden matrix starts at
rank 500, by SVD and by randomised SVD. Here all see the same batches, and so do networks whose
factors stay factors. The dense network is trained for a second run, because the notebook's had been
trained before. Smaller ranks are cut out after training, and `eckart` may shrink every layer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

import eckart
from study_kit.images import Images, load_images
from study_kit.measuring import measured
from study_kit.opening import Line, opening
from study_kit.perceptron import (
    NOTEBOOK,
    SAMPLED,
    SVD,
    Dense,
    Multiplied,
    at_the_start,
    rank_of,
    train,
)
from study_kit.study import Row, Study, begin, percent, table

FACTORS, CUT = "factors, trained", "SVD after training"
WEIGHTED, OURS = "weighted by A and G after training", "eckart, whole network"


@dataclass(frozen=True)
class Setting:
    """How large the network is, and how long it is trained."""

    width: int = 1000
    epochs: int = 7
    every: int = 500
    calibration: int = 2000

    @property
    def ranks(self) -> list[int]:
        """From half of the width to a hundredth."""
        return [round(share * self.width) for share in (0.5, 0.1, 0.05, 0.02, 0.01)]


def main(arguments: Sequence[str] | None = None) -> None:
    study = begin("mlp-mnist", "ylecun/mnist", arguments)
    few = "[:540]" if study.quick else ""
    images, test = (load_images(study.data, split + few) for split in ("train", "test"))
    setting = Setting(width=100, epochs=1, every=2) if study.quick else Setting()
    how = setting, study.seed, images.digest(), test.digest(), train, cut
    rows = study.rows("networks", partial(networks, images, test, setting, study.seed), *how)
    history = [row for row in rows if row["part"] == "history"]
    sizes = [row for row in rows if row["part"] == "network"]
    study.put("opening", opening(list(lines(sizes, history))))
    study.put("starts", starts(rows))
    study.put("history", side_by_side(history))
    study.put("sizes", tabulated(sizes))
    draw(study, sizes)
    dense = next(row for row in sizes if row["kind"] == "dense" and row["run"] == 1)
    study.sign(dense, ", training included")


def networks(images: Images, test: Images, setting: Setting, seed: int) -> Iterator[Row]:
    """Train everything side by side, then the dense network once more, and cut out of it."""
    torch.manual_seed(seed)
    dense, half = Dense(setting.width), setting.ranks[0]
    trained: dict[tuple[str, int | None], nn.Module] = {("dense", None): dense}
    trained[SVD, half] = Multiplied(setting.width, half)
    trained[SAMPLED, half] = Multiplied(setting.width, half, seed)
    multiplied = {kind: trained[kind, half] for kind in (SVD, SAMPLED)}
    for kind, network in multiplied.items():
        yield {"part": "start", "kind": kind, **at_the_start(network)}
    for rank in setting.ranks[::2]:
        trained[FACTORS, rank] = eckart.factorize(dense, {"hidden": rank})
    score = eckart.accuracy(test)
    for run in (1, 2):
        of = trained if run == 1 else {("dense", None): dense}
        steps = train(list(of.values()), images, setting.epochs, setting.every, seed + run)
        for done, losses in steps:
            for (kind, rank), network, loss in zip(of, of.values(), losses, strict=True):
                known = {"part": "history", "kind": kind, "rank": rank, "run": run}
                yield {**known, "iteration": done, "loss": loss, "accuracy": score(network).value}
            print(f"run {run}, iteration {done}", flush=True)
        smaller = cut(dense, images.first(setting.calibration), setting.ranks)
        for kind, rank, network in [*((*key, n) for key, n in of.items()), *smaller]:
            named = network.named_parameters()
            hidden = sum(p.numel() for n, p in named if "hidden" in n or "drawn" in n)
            known = {"part": "network", "kind": kind, "rank": rank, "run": run, "hidden": hidden}
            yield measured(network, test, **known)
    for kind, network in multiplied.items():
        yield {"part": "end", "kind": kind, "rank": rank_of(network)}


def cut(dense: Dense, images: Images, ranks: list[int]) -> Iterator[tuple[str, int, nn.Module]]:
    """Networks cut out of a trained one, with their kind and the rank of the hidden matrix."""
    moments = eckart.calibrate(dense, images, progress=False)
    for rank in ranks:
        yield CUT, rank, eckart.factorize(dense, {"hidden": rank})
    sizes = {}
    for rank in ranks:
        smaller = eckart.factorize(dense, {"hidden": rank}, init="weighted", moments=moments)
        sizes[rank] = smaller.eckart_plan.costs["params"]
        yield WEIGHTED, rank, smaller
    options = eckart.curves(dense, moments, progress=False)
    sizes[ranks[0]] -= dense.hidden.out_features  # the notebook's layer has no bias
    for rank, size in sizes.items():
        plan = eckart.allocate(options, eckart.Budget(params=size))
        yield OURS, rank, eckart.apply(dense, plan, moments)


def lines(sizes: Sequence[Row], history: Sequence[Row]) -> Iterator[Line]:
    """The notebook's last figures, at iteration 4,500, and what it was after: smaller ranks."""
    of = {(row["kind"], row["rank"], row["run"]): row for row in sizes}
    ranks = list(dict.fromkeys(row["rank"] for row in sizes if row["kind"] == CUT))
    yield Line("dense, not trained before", None, _reported(of["dense", None, 1], history))
    yield Line("dense, trained before", 0.9844, _reported(of["dense", None, 2], history))
    for kind, there in ((SVD, 0.9799), (SAMPLED, 0.9811)):
        row = _reported(of[kind, ranks[0], 1], history)
        yield Line(f"{kind}, rank {ranks[0]}", there, row, of[OURS, ranks[0], 1])
    for rank in ranks[1:]:
        yield Line(f"{CUT}, rank {rank}", None, of[CUT, rank, 1], of[OURS, rank, 1])


def _reported(row: Row, history: Sequence[Row]) -> Row:
    """A network's row with its accuracy at the iteration that the notebook printed last."""
    same = ("kind", "rank", "run")
    seen = [h for h in history if all(h[key] == row[key] for key in same)]
    return row | {"accuracy": seen[-2]["accuracy"]}


def starts(rows: Sequence[Row]) -> str:
    """What the notebook does not print: how its two small networks start, and their ranks."""
    head = ("", "distance to the drawn matrix, relative", "the least possible", "rank at the start",
            "rank after training")  # fmt: skip
    begun, ended = ([r for r in rows if r["part"] == part] for part in ("start", "end"))
    cells = [
        (a["kind"], f"{a['error']:.3f}", f"{a['least']:.3f}", a["rank"], b["rank"])
        for a, b in zip(begun, ended, strict=True)
    ]
    return table(head, cells)


def side_by_side(history: Sequence[Row]) -> str:
    """Loss and accuracy every 500 iterations: the notebook's, and here in both runs."""
    runs = [("dense", 2), (SVD, 1), (SAMPLED, 1), ("dense", 1)]
    kinds = {k: [r for r in history if (r["kind"], r["run"]) == k] for k in runs}
    head = ["iteration"]
    for kind, run in runs:
        name = kind.replace(" at the start", "") if kind != "dense" else f"dense, run {run}"
        head += [f"{name}: the notebook"] if run == 2 or kind != "dense" else []
        head += [f"{name}: here"]
    cells = []
    for i, row in enumerate(kinds["dense", 1]):
        cells.append([f"{row['iteration']:,}"])
        for kind, run in runs:
            if run == 2 or kind != "dense":
                there = NOTEBOOK[kind][i] if i < len(NOTEBOOK[kind]) else None
                cells[-1].append(there and f"{there[1]:.2f} ({there[0]:.4f})")
            here = kinds[kind, run][i]
            cells[-1].append(f"{percent(here['accuracy'])} ({here['loss']:.4f})")
    return table(head, cells)


def tabulated(sizes: Sequence[Row]) -> str:
    """The parameters, the MACs and the accuracy after each run."""
    groups: dict[tuple, dict[int, Row]] = {}
    for row in sizes:
        groups.setdefault((row["kind"], row["rank"]), {})[row["run"]] = row
    head = ("hidden matrix", "rank", "its parameters", "all parameters", "MACs", "1 run", "2 runs")
    cells = [
        (kind, rank, *(f"{runs[1][key]:,}" for key in ("hidden", "params", "macs")),
         *(percent(runs[run]["accuracy"]) if run in runs else None for run in (1, 2)))
        for (kind, rank), runs in groups.items()
    ]  # fmt: skip
    return table(head, cells)


def draw(study: Study, sizes: Sequence[Row]) -> None:
    """Draw the accuracy after one run against all parameters."""
    once = [row for row in sizes if row["run"] == 1]
    with study.figure("sizes") as axes:
        for kind in (FACTORS, CUT, WEIGHTED, OURS):
            of = sorted((r["params"], 100 * r["accuracy"]) for r in once if r["kind"] == kind)
            axes.plot(*zip(*of, strict=True), marker="o", ms=4, label=kind)
        axes.axhline(100 * once[0]["accuracy"], color="grey", lw=0.5, label="dense")
        axes.set(xlabel="parameters of the whole network", ylabel="accuracy after one run, %")


if __name__ == "__main__":
    main()

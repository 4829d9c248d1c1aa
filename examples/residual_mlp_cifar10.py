"""Study 5: a residual network of fully connected layers on CIFAR-10, every layer at low rank.

python examples/residual_mlp_cifar10.py --data ../data/cifar10

The course trains 3072-1000-(residual 1000-1000)×2-10 by Adam with a rate of 1e-3 for 7 epochs, gets
53 %, and replaces every matrix by its truncated SVD, computed as two factors. This study shows time
and accuracy, on training and on test images, against rank and parameters. It adds 1 to 5 epochs of
fine-tuning, the same ranks weighted by second moments, and the whole network by eckart with as many
parameters.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

import eckart
from study_kit.images import Images, load_images
from study_kit.measuring import measured, relative_times
from study_kit.study import Row, Study, begin, percent, table
from study_kit.training import Recipe, train_epochs, trained

RANKS = (5, 10, 20, 50, 100, 200, 400)
TUNED = (10, 50)
KINDS = ("SVD", "A and G, the same rank", "eckart")
TRAINING = Recipe(epochs=7, rate=1e-3, batch=128, adam=True)
TUNING = replace(TRAINING, epochs=5, rate=1e-4)
AXES = {
    "rank": {"xscale": "log", "xlabel": "rank"},
    "params": {"xscale": "log", "xlabel": "parameters"},
    "time": {"xlabel": "time, of dense"},
}
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)


class Residual(nn.Module):
    """x + relu(W x + b)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.linear(x).relu()


def network(width: int = 1000) -> nn.Module:
    """5,085,010 parameters."""
    inner = (nn.ReLU(), Residual(width), Residual(width))
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, width), *inner, nn.Linear(width, 10))


def main(arguments: Sequence[str] | None = None) -> None:
    study = begin("residual-mlp-cifar10", "uoft-cs/cifar10", arguments)
    few = "[:500]" if study.quick else ""
    train, test = (load_images(study.data, split + few) for split in ("train", "test"))
    train, test = (replace(part, mean=MEAN, std=STD) for part in (train, test))
    recipe = replace(TRAINING, epochs=1) if study.quick else TRAINING
    make = partial(network, 60 if study.quick else 1000)
    dense = study.network("dense", make, lambda: trained(make, train, recipe, study.seed))
    smaller = Smaller(dense, train)
    ranks, tuned = study.some(RANKS), study.some(TUNED)
    rows = study.rows("ranks", lambda: at_ranks(smaller, ranks, train.first(10_000), test))
    draw_ranks(study, rows)
    tuning = replace(TUNING, epochs=1) if study.quick else TUNING
    after = study.rows("tuned", lambda: fine_tuned(smaller, tuned, tuning, test, study.seed))
    draw_tuned(study, rows[0], after)
    study.sign(rows[0])


class Smaller:
    """Three ways to make the dense network as small as its SVD of a given rank."""

    def __init__(self, dense: nn.Module, train: Images) -> None:
        self.dense, self.train = dense, train
        self.moments = eckart.calibrate(dense, train.first(5000), progress=False)
        self.options = eckart.curves(dense, self.moments, progress=False)

    def make(self, kind: str, rank: int) -> nn.Module:
        names = ("1", "3.linear", "4.linear", "5")
        ranks = {name: rank for name in names if name != "5" or rank < 10}
        same = eckart.factorize(self.dense, ranks)
        if kind == "SVD":
            return same
        if kind == "eckart":
            size = sum(parameter.numel() for parameter in same.parameters())
            plan = eckart.allocate(self.options, eckart.Budget(params=size))
            return eckart.apply(self.dense, plan, self.moments)
        return eckart.factorize(self.dense, ranks, init="weighted", moments=self.moments)


def at_ranks(smaller: Smaller, ranks: Sequence[int], train: Images, test: Images) -> Iterator[Row]:
    """Accuracy on training and test images and relative time, without fine-tuning."""
    cases = [("dense", None), *((kind, rank) for kind in KINDS for rank in ranks)]
    networks = [smaller.dense if rank is None else smaller.make(kind, rank) for kind, rank in cases]
    times = relative_times(networks, next(iter(test.in_batches(256)))[0])
    for (kind, rank), small, time in zip(cases, networks, times, strict=True):
        seen = measured(small, train)["accuracy"]
        yield measured(small, test, kind=kind, rank=rank, time=time, train=seen)


def fine_tuned(
    smaller: Smaller, ranks: Sequence[int], recipe: Recipe, test: Images, seed: int
) -> Iterator[Row]:
    """Accuracy after each epoch on labels, and after as many steps towards the dense network."""
    steps = recipe.epochs * len(smaller.train.in_batches(recipe.batch))
    for kind, rank in [("dense", None), *((kind, rank) for rank in ranks for kind in KINDS)]:
        small = copy.deepcopy(smaller.dense) if rank is None else smaller.make(kind, rank)
        row = measured(small, test, kind=kind, rank=rank)
        row["epochs"] = [row["accuracy"]]
        if kind == "eckart":
            healed = eckart.heal(
                small, smaller.dense, smaller.train.in_batches(recipe.batch),
                moments=smaller.moments, treatments=("distil",), steps=steps, seed=seed,
                progress=False,
            )  # fmt: skip
            row["healed"] = measured(healed.model, test)["accuracy"]
        for _ in train_epochs(small, smaller.train, recipe, seed):
            row["epochs"].append(measured(small, test)["accuracy"])
        yield row


def draw_ranks(study: Study, rows: list[Row]) -> None:
    """Write and draw accuracy against rank, parameters and time."""
    (dense,) = (row for row in rows if row["rank"] is None)
    head = ("kind", "rank", "parameters, %", "MACs, %", "time, of dense", "training images", "test")
    cells = [
        (r["kind"], r["rank"], *(percent(r[c] / dense[c], 1) for c in ("params", "macs")),
         f"{r['time']:.2f}", percent(r["train"]), percent(r["accuracy"])) for r in rows
    ]  # fmt: skip
    study.put("ranks", table(head, cells))
    with study.figure("ranks", panels=3) as axes:
        for panel, cost in zip(axes, ("rank", "params", "time"), strict=True):
            kinds = KINDS[:2] if cost == "rank" else KINDS
            for kind in kinds:
                of_kind = sorted((r for r in rows if r["kind"] == kind), key=lambda r: r[cost])
                for score, style in (("accuracy", "o-"), ("train", "x:")):
                    if score == "accuracy" or cost == "rank":
                        label = kind + (", training images" if score == "train" else "")
                        points = [(r[cost], 100 * r[score]) for r in of_kind]
                        panel.plot(*zip(*points, strict=True), style, ms=4, lw=1, label=label)
            panel.axhline(100 * dense["accuracy"], color="grey", lw=0.7)
            panel.set(**AXES[cost])
        axes[0].axhline(100 * dense["train"], color="grey", lw=0.7, ls=":")
        axes[0].set_ylabel("accuracy, %")


def draw_tuned(study: Study, dense: Row, rows: list[Row]) -> None:
    """Write and draw the accuracy after each epoch."""
    last = len(rows[0]["epochs"])
    head = ("rank", "kind", "parameters, %", *(f"{e} epochs" for e in range(last)), "distilled")
    cells = [
        (r["rank"], r["kind"], percent(r["params"] / dense["params"], 1),
         *map(percent, r["epochs"]), percent(r.get("healed"))) for r in rows
    ]  # fmt: skip
    study.put("tuned", table(head, cells))
    ranks = list(dict.fromkeys(row["rank"] for row in rows[1:]))
    with study.figure("tuned", panels=len(ranks), sharey=True) as axes:
        for panel, rank in zip(axes, ranks, strict=True):
            for row in rows:
                if row["rank"] in (None, rank):
                    panel.plot(
                        [100 * a for a in row["epochs"]], "o-", ms=4, lw=1, label=row["kind"]
                    )
            panel.axhline(100 * dense["accuracy"], color="grey", lw=0.7)
            panel.set(title=f"as large as rank {rank}", xlabel="epochs of fine-tuning")
        axes[0].set_ylabel("test accuracy, %")


if __name__ == "__main__":
    main()

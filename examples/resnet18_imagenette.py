"""Study 3: ResNet-18 on Imagenette, from two convolutions at rank 8 to the whole network.

python examples/resnet18_imagenette.py --data ../data/imagenette96

The notebook cuts the two convolutions of `layer1[0]` in torchvision's ResNet-18 to rank 8, puts
them in place before training, and trains 5 epochs by SGD: 64.79 % at 320 pixels. Training makes the
weights full again, so nothing is saved. This study does the same and shows the ranks. Then it does
what was meant: factors that stay factors while training, and the cut after training, trained again;
and the whole network at 0.7, 0.5 and 0.3 of its parameters. `--uncut 1` also trains the network
that is never cut; `--heal 1` heals the smaller ones.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from time import process_time

import torch
from torch import nn

import eckart
from study_kit.images import Images, load_images
from study_kit.measuring import forward_seconds, measured
from study_kit.opening import Line, opening
from study_kit.resnet18 import COURSE, FACTORS, OURS, STARTS, Network, spectrum
from study_kit.study import Row, Study, begin, percent, table
from study_kit.training import Recipe, train_epochs, trained

NOTEBOOK = 0.6479
LOSSES = (1.953, 1.484, 1.280, 1.100, 0.993)  # its training loss: 200 batches of each epoch
HALF = (0.5, 0.5, 0.5)  # mean and deviation of every channel
RECIPE = Recipe(epochs=5, rate=1e-3, batch=32, plain=True, bfloat16=True)
MORE = 1  # epochs of training after the cut
KEEPS = (0.7, 0.5, 0.3)
STEPS = 150  # of distillation
TREATMENTS = {"correct": 4000, "refit": 1000, "distil": 4000}  # images that each sees


def main(arguments: Sequence[str] | None = None) -> None:
    optional = {"pixels": 96, "uncut": 0, "heal": 0}
    study = begin("resnet18-imagenette", "frgfm/imagenette:160px", arguments, **optional)
    few, size = ("[:1%]", 32) if study.quick else ("", study.options.pixels)
    train, test = (
        load_images(study.data, split + few, (size, size), mean=HALF, std=HALF)
        for split in ("train", "validation")
    )
    recipe, blocks = (replace(RECIPE, epochs=1), 1) if study.quick else (RECIPE, 2)
    starts = dict(list(STARTS.items())[: 2 + study.options.uncut])
    how, losses, found = (recipe, study.seed, train.digest()), {}, {}
    for label, start in starts.items():
        make = partial(start, blocks)
        part = partial(training, study, label, make, train, *how)
        losses[label] = study.rows(label, part, *how)[0]
        again = partial(trained, make, train, recipe, study.seed)
        found[label] = study.network(label, make, again, *how)
    network = Network(found["in place"], train, test, ("layer3*", "layer4*") * study.quick)
    how = (*how, test.digest(), Network)
    cut = study.rows("cut", partial(two_convolutions, network, found), *how, list(found))
    more = replace(recipe, epochs=1 if study.quick else MORE)
    after = study.rows("retrained", partial(retrained, network, more, study.seed), *how, more)
    keeps = (0.97,) if study.quick else KEEPS
    rows = study.rows("budgets", partial(budgets, network, keeps), *how, keeps)
    if study.options.heal:
        steps = 2 if study.quick else STEPS
        rows += study.rows("healed", partial(healed, network, keeps, steps), *how, keeps, steps)
    open_page(study, cut, rows)
    tabulate_training(study, losses)
    tabulate(study, cut, after)
    draw(study, cut[0], rows)
    study.sign(cut[0], but=", all trainings included")


def training(
    study: Study,
    label: str,
    make: Callable[[], nn.Module],
    train: Images,
    recipe: Recipe,
    seed: int,
    digest: str,
) -> Iterator[Row]:
    """Train one network from the same start as the others; the mean loss of each epoch."""
    torch.manual_seed(seed)
    network = make()
    losses = list(train_epochs(network, train, recipe, seed))
    study.network(label, make, lambda: network, recipe, seed, digest)
    yield {"losses": losses}


def two_convolutions(network: Network, found: dict[str, nn.Module]) -> Iterator[Row]:
    """The two convolutions at rank 8: in place or as factors, before or after training."""
    cases = {COURSE: network.trained, FACTORS: found["factors"], **network.cut()}
    if "not cut" in found:
        cases["never cut"] = found["not cut"]
    inputs = next(iter(network.train.in_batches(16)))[0]
    times = forward_seconds(list(cases.values()), inputs, rounds=9)
    for (kind, small), forward in zip(cases.items(), times, strict=True):
        ranks, leading = spectrum(small)
        known = {"kind": kind, "ranks": ranks, "leading": leading, "forward": forward}
        yield measured(small, network.test, **known)


def retrained(network: Network, recipe: Recipe, seed: int) -> Iterator[Row]:
    """The cut networks, and the one that was not cut, after more epochs of the same training."""
    for kind, small in {COURSE: deepcopy(network.trained), **network.cut()}.items():
        losses = list(train_epochs(small, network.train, recipe, seed + 1))
        yield measured(small, network.test, kind=kind, losses=losses)


def budgets(network: Network, keeps: Sequence[float]) -> Iterator[Row]:
    """The whole network at fractions of its parameters."""
    plain = network.options("svd")
    for keep in keeps:
        plan = eckart.stages.allocate.uniform(plain, eckart.Budget(params=keep))
        rival = eckart.apply(network.trained, plan, network.moments)
        yield measured(rival, network.test, method="SVD, uniform", keep=keep)
        yield measured(network.at_most(keep), network.test, method="eckart", keep=keep)


def healed(network: Network, keeps: Sequence[float], steps: int) -> Iterator[Row]:
    """Eckart's networks healed without labels, one treatment after another."""
    for keep in keeps:
        small, spent = network.at_most(keep), 0.0
        for treatment, images in TREATMENTS.items():
            start = process_time()
            small = eckart.heal(
                small, network.trained, network.train.first(images).in_batches(64),
                moments=network.moments, steps=steps, treatments=[treatment], progress=False,
            ).model  # fmt: skip
            spent += process_time() - start
            method = f"… and {treatment}"
            yield measured(small, network.test, method=method, keep=keep, seconds=spent)


def open_page(study: Study, cut: list[Row], rows: list[Row]) -> None:
    """Write the notebook's figure, its method here, and eckart."""
    found = {row["kind"]: row for row in cut}
    lines = [
        Line("two convolutions at rank 8, put in place", NOTEBOOK, found[COURSE]),
        Line("… stored as factors", None, found[FACTORS], found[OURS]),
    ]
    for keep in dict.fromkeys(row["keep"] for row in rows):
        pair = (r for r in rows if r["keep"] == keep and r["method"] in ("SVD, uniform", "eckart"))
        lines.append(Line(f"whole network, {keep:g} of the parameters", None, *pair))
    study.put("opening", opening(lines))


def tabulate_training(study: Study, trained_as: dict[str, Row]) -> None:
    """Write the notebook's loss in each epoch beside ours."""
    columns = [row["losses"] for row in trained_as.values()]
    epochs = enumerate(zip(LOSSES, *columns, strict=False), 1)
    cells = [(epoch, *map("{:.3f}".format, losses)) for epoch, losses in epochs]
    study.put("training", table(("epoch", "the notebook", *trained_as), cells))


def tabulate(study: Study, rows: list[Row], after: list[Row]) -> None:
    """Write rank, size, time and accuracy of the networks with two cut convolutions."""
    whole, again = rows[0], {row["kind"]: row["accuracy"] for row in after}
    epochs = len(after[0]["losses"])
    head = ("`layer1[0]`", "their ranks", "in the first 8 directions, %", "parameters")
    cells = [
        (r["kind"], " and ".join(map(str, r["ranks"])),
         " and ".join(percent(part, 1) for part in r["leading"]), f"{r['params']:,}",
         percent(r["macs"] / whole["macs"], 1), f"{1e3 * r['forward']:.0f}",
         f"{r['forward'] / whole['forward']:.2f}", percent(r["accuracy"]),
         percent(again.get(r["kind"]))) for r in rows
    ]  # fmt: skip
    more = f"… after {epochs} more epoch{'s' * (epochs > 1)}"
    study.put("cut", table((*head, "MACs, %", "ms", "time", "accuracy", more), cells))


def draw(study: Study, whole: Row, rows: list[Row]) -> None:
    """Write and draw accuracy against parameters and MACs."""
    rows = sorted(rows, key=lambda row: -row["keep"])
    head = ("method", "keep", "parameters, %", "MACs, %", "accuracy", "seconds of healing")
    cells = [
        (r["method"], r["keep"], *(percent(r[c] / whole[c], 1) for c in ("params", "macs")),
         percent(r["accuracy"]), f"{r['seconds']:.0f}" if "seconds" in r else None) for r in rows
    ]  # fmt: skip
    shown = len(head) if any("seconds" in row for row in rows) else -1
    study.put("budgets", table(head[:shown], [row[:shown] for row in cells]))
    with study.figure("budgets", panels=2, sharey=True) as axes:
        for panel, cost in zip(axes, ("params", "macs"), strict=True):
            for method in dict.fromkeys(row["method"] for row in rows):
                of_method = [row for row in rows if row["method"] == method]
                points = [(r[cost] / whole[cost], 100 * r["accuracy"]) for r in of_method]
                panel.plot(*zip(*points, strict=True), "o-", ms=4, lw=1, label=method)
            panel.axhline(100 * whole["accuracy"], color="grey", lw=0.7)
            panel.set_xlabel({"params": "parameters kept", "macs": "MACs kept"}[cost])
        axes[0].set_ylabel("accuracy, %")


if __name__ == "__main__":
    main()

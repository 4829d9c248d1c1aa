"""Study 3: ResNet-18 on Imagenette, from two convolutions at rank 8 to the whole network.

python examples/resnet18_imagenette.py --data ../data/imagenette96

The course trains torchvision's ResNet-18 from scratch with 10 classes for 5 epochs at 320 pixels,
gets 64.79 %, and replaces the weights of the two convolutions of `layer1[0]` by their rank-8
matrices. The shape stays the same, so nothing is saved. This study shows the same cut in place and
stored as factors, eckart with as many parameters, and the whole network at 0.7, 0.5 and 0.3 of its
parameters, healed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from time import process_time

import torchvision
from torch import nn

import eckart
from study_kit.images import Images, load_images
from study_kit.measuring import measured, relative_times
from study_kit.study import Row, Study, begin, percent, table
from study_kit.training import Recipe, trained

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RECIPE = Recipe(epochs=5, rate=0.03, batch=32, margin=8, smoothing=0.1, bfloat16=True)
CUT = {"layer1.0.conv1": 8, "layer1.0.conv2": 8}
KEEPS = (0.7, 0.5, 0.3)
METHODS = ("weighted_svd", "spatial")
CALIBRATION, STEPS = 1000, 150
TREATMENTS = {"correct": 4000, "refit": 1000, "distil": 4000}  # images that each sees


def resnet18() -> nn.Module:
    return torchvision.models.resnet18(num_classes=10)


def main(arguments: Sequence[str] | None = None) -> None:
    study = begin("resnet18-imagenette", "frgfm/imagenette:160px", arguments, pixels=96)
    few, size = ("[:2%]", 32) if study.quick else ("", study.options.pixels)
    train, test = (load_images(study.data, split + few, size) for split in ("train", "validation"))
    train, test = (replace(part, mean=MEAN, std=STD) for part in (train, test))
    recipe = replace(RECIPE, epochs=1) if study.quick else RECIPE
    dense = study.network("dense", resnet18, lambda: trained(resnet18, train, recipe, study.seed))
    network = Network(dense, train, test, ("layer3*", "layer4*") if study.quick else ())
    cut = study.rows("cut", lambda: two_convolutions(network))
    tabulate_cut(study, cut)
    keeps, steps = ((0.97,), 2) if study.quick else (KEEPS, STEPS)
    draw(study, cut[0], study.rows("budgets", lambda: budgets(network, keeps, steps)))
    study.sign(cut[0])


class Network:
    """The dense network, the data, and its moments and options."""

    def __init__(
        self, dense: nn.Module, train: Images, test: Images, untouched: Sequence[str]
    ) -> None:
        self.untouched = untouched
        self.dense, self.train, self.test = dense, train.in_batches(64), test
        calibration = train.first(CALIBRATION).in_batches(50)
        self.moments = eckart.calibrate(dense, calibration, progress=False)

    def options(self, *methods: str) -> eckart.Curves:
        """Every option of these methods."""
        return eckart.curves(
            self.dense, self.moments, methods=methods, dense=self.untouched, progress=False
        )

    @cached_property
    def factors(self) -> eckart.Curves:
        """Low rank and spatial options; removal of channels takes minutes on 4,608 columns."""
        return self.options(*METHODS)

    def at_most(self, params: float) -> nn.Module:
        """Eckart's best network within a fraction, or a number, of the parameters."""
        plan = eckart.allocate(self.factors, eckart.Budget(params=params))
        return eckart.apply(self.dense, plan, self.moments)


def two_convolutions(network: Network) -> Iterator[Row]:
    """The course's two convolutions at rank 8."""
    stored = eckart.factorize(network.dense, CUT)
    weighted = eckart.factorize(network.dense, CUT, init="weighted", moments=network.moments)
    size = sum(parameter.numel() for parameter in stored.parameters())
    cases = {
        "dense": network.dense,
        "SVD, put in place (the course)": eckart.merge(stored),
        "SVD, stored as factors": stored,
        "weighted by A and G, stored as factors": weighted,
        "**eckart**, whole network, as many parameters": network.at_most(size),
    }
    times = relative_times(
        list(cases.values()), next(iter(network.train.in_batches(16)))[0], rounds=9
    )
    for (kind, small), time in zip(cases.items(), times, strict=True):
        yield measured(small, network.test, kind=kind, time=time)


def tabulate_cut(study: Study, rows: list[Row]) -> None:
    """Write what the cut of two convolutions costs and saves."""
    dense = rows[0]
    head = ("layer1[0]'s convolutions", "parameters", "MACs, %", "time, of dense", "accuracy")
    cells = [
        (r["kind"], f"{r['params']:,}", percent(r["macs"] / dense["macs"], 1), f"{r['time']:.2f}",
         percent(r["accuracy"])) for r in rows
    ]  # fmt: skip
    study.put("cut", table(head, cells))


def budgets(network: Network, keeps: Sequence[float], steps: int) -> Iterator[Row]:
    """The whole network at fractions of its parameters: unhealed, then healed in steps."""
    plain = network.options("svd")
    for keep in keeps:
        plan = eckart.stages.allocate.uniform(plain, eckart.Budget(params=keep))
        rival = eckart.apply(network.dense, plan, network.moments)
        yield measured(rival, network.test, method="SVD, uniform", keep=keep)
        small = network.at_most(keep)
        yield measured(small, network.test, method="eckart", keep=keep)
        spent = 0.0
        for treatment, images in TREATMENTS.items():
            start = process_time()
            small = eckart.heal(
                small, network.dense, network.train.first(images), moments=network.moments,
                steps=steps, treatments=[treatment], progress=False,
            ).model  # fmt: skip
            spent += process_time() - start
            method = f"… and {treatment}"
            yield measured(small, network.test, method=method, keep=keep, seconds=spent)


def draw(study: Study, dense: Row, rows: list[Row]) -> None:
    """Write and draw accuracy against parameters and MACs, with the seconds of healing."""
    head = ("method", "keep", "parameters, %", "MACs, %", "accuracy", "seconds of healing")
    cells = [
        (r["method"], r["keep"], *(percent(r[c] / dense[c], 1) for c in ("params", "macs")),
         percent(r["accuracy"]), f"{r['seconds']:.0f}" if "seconds" in r else None) for r in rows
    ]  # fmt: skip
    study.put("budgets", table(head, cells))
    with study.figure("budgets", panels=2, sharey=True) as axes:
        for panel, cost in zip(axes, ("params", "macs"), strict=True):
            for method in dict.fromkeys(row["method"] for row in rows):
                of_method = [row for row in rows if row["method"] == method]
                points = [(r[cost] / dense[cost], 100 * r["accuracy"]) for r in of_method]
                panel.plot(*zip(*points, strict=True), "o-", ms=4, lw=1, label=method)
            panel.axhline(100 * dense["accuracy"], color="grey", lw=0.7)
            panel.set_xlabel({"params": "parameters kept", "macs": "MACs kept"}[cost])
        axes[0].set_ylabel("accuracy, %")


if __name__ == "__main__":
    main()

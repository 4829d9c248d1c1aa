"""LeNet-5 at every budget by each family of options, and retrained at some."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor, nn

import eckart
from benchmarks.measuring.clocks import timed
from benchmarks.measuring.counts import count_params
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Row, write_json
from benchmarks.subjects.data import CALIBRATION_IMAGES, Labelled, batches, first, mnist
from benchmarks.subjects.retraining import Recipe, retrained
from benchmarks.subjects.scoring import accuracy, logits_of
from benchmarks.subjects.trained import trained_lenet
from eckart.errors import BudgetError
from eckart.methods import DEFAULT_METHODS

BATCH = 100
KEEPS = (0.097, 0.05, 0.03, 0.02, 0.01)
RETRAINED = (0.05, 0.02, 0.01)  # at seed 0; at other seeds the last of them
METHODS: dict[str, tuple[str, ...]] = {
    "joint": DEFAULT_METHODS,
    "low_rank": ("weighted_svd", "spatial"),
    "removal": ("backward_elimination",),
}
RECIPES = (
    Recipe("one epoch on labels", 1, distilled=False),
    Recipe("five epochs of distillation", 5, distilled=True, rate=8e-3, batch=32),
)


@dataclass(frozen=True)
class Smaller:
    """A network at a budget, with its plan and the seconds that the curves took."""

    keep: float
    plan: eckart.Plan
    model: nn.Module
    curves_seconds: float


@dataclass(frozen=True)
class Trained:
    """A trained LeNet-5 with its images.

    Attributes:
        seed: seed of its training.
        model: in eval mode.
        train, test: images and labels.
    """

    seed: int
    model: nn.Module
    train: Labelled
    test: Labelled

    def smaller(self, methods: Sequence[str], keeps: Sequence[float]) -> Iterator[Smaller]:
        """One network per budget that can be reached."""
        model = self.model
        seen = batches(first(self.train, CALIBRATION_IMAGES), BATCH)
        moments = eckart.calibrate(model, seen, progress=False)
        find = partial(eckart.curves, model, moments, methods=methods, progress=False)
        seconds, curves = timed(find)
        for keep in keeps:
            try:
                plan = eckart.allocate(curves, eckart.Budget(params=keep))
            except BudgetError as error:
                print(f"{keep}: {error}", flush=True)
            else:
                yield Smaller(keep, plan, eckart.apply(model, plan, moments), seconds)


def budget_row(on: Trained, method: str, small: Smaller) -> Row:
    """One row without retraining."""
    plan = small.plan
    return {
        "seed": on.seed,
        "method": method,
        "keep": small.keep,
        "dense": accuracy(on.model, *on.test),
        "params": count_params(small.model) / count_params(on.model),
        "macs": plan.costs["macs"] / plan.totals["macs"],
        "accuracy": accuracy(small.model, *on.test),
        "loss": plan.loss,
        "bound": plan.bound,
        "curves_seconds": small.curves_seconds,
    }


def retrained_rows(on: Trained, small: Smaller, teacher: Tensor) -> Iterator[Row]:
    """One network after each recipe."""
    images, labels = on.train
    for recipe in RECIPES:
        targets = teacher if recipe.distilled else labels
        seconds, model = timed(partial(retrained, small.model, recipe, images, targets))
        yield {
            "seed": on.seed,
            "keep": small.keep,
            "recipe": recipe.name,
            "rate": recipe.rate,
            "batch": recipe.batch,
            "params": count_params(model) / count_params(on.model),
            "accuracy": accuracy(model, *on.test),
            "seconds": seconds,
        }


def measure(
    output: Path,
    data: Path | None = None,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    keep: Sequence[float] = KEEPS,
    retrain: bool = True,
) -> None:
    """Networks of the given seeds; the joint plan is also retrained at some budgets."""
    report: dict[str, list[Row]] = {"budgets": [], "retrained": []}
    for seed in seeds:
        on = Trained(seed, trained_lenet(data, seed), mnist(data), mnist(data, "test"))
        teacher = logits_of(on.model, on.train[0])
        later = RETRAINED if seed == 0 else RETRAINED[-1:]
        for method, names in METHODS.items():
            for small in on.smaller(names, keep):
                report["budgets"].append(budget_row(on, method, small))
                if retrain and method == "joint" and small.keep in later:
                    report["retrained"] += retrained_rows(on, small, teacher)
                write_json(report, output)


MEASUREMENT = Measurement(measure)

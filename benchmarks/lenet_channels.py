"""Fewer channels of LeNet-5 on MNIST: the course's results, the frontier, retraining, the choice.

python -m benchmarks.lenet_channels --data ../data
"""

import argparse
import copy
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import eckart
from benchmarks import channel_tables
from benchmarks.channel_choice import Row, all_at_once, each_alone
from benchmarks.costs import count_params
from benchmarks.data import cifar10, mnist
from benchmarks.networks import LeNet5, load_resnet, trained_lenet
from benchmarks.retraining import Recipe, logits_of, retrained
from eckart.coupling import coupling, without_units
from eckart.errors import BudgetError
from eckart.linalg import debias, group_lasso, group_lasso_path

OUTPUT = Path("benchmarks/results/lenet-channels.json")
CALIBRATION, BATCH = 2000, 100
KEEPS = (0.097, 0.05, 0.03, 0.02, 0.01)
METHODS: dict[str, dict[str, tuple[str, ...]]] = {
    "joint": {},
    "low_rank": {"methods": ("weighted_svd", "spatial")},
    "removal": {"methods": ("backward_elimination",)},
}
RECIPES = (
    Recipe("one epoch on labels", 1, distilled=False),
    Recipe("five epochs of distillation", 5, distilled=True),
)
FRACTIONS = (0.75, 0.5, 0.35, 0.25, 0.15, 0.1)
COURSE_ALPHA, COURSE_KEPT = 0.01, {"plain": 56, "bias": 53}  # 16.5 and 15.9 % of the parameters
Labelled = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Mnist:
    """Training images, and the test images that everything is scored on."""

    train: Labelled
    test: Labelled


def main() -> None:
    parser = argparse.ArgumentParser(description="Fewer channels of LeNet-5")
    parser.add_argument("--data", type=Path, help="data folder; default ECKART_DATA")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the training")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = Mnist(mnist(arguments.data), mnist(arguments.data, "test"))
    first, start = trained_lenet(arguments.data, arguments.seeds[0]), time.perf_counter()
    report: dict[str, list[Row]] = {"course": list(course(first, data))}
    print(channel_tables.course(report["course"]), flush=True)
    report |= {"budgets": [], "retrained": []}
    for i, seed in enumerate(arguments.seeds):
        model = trained_lenet(arguments.data, seed)
        retrain = KEEPS if i == 0 else KEEPS[-1:]
        plain, trained = budgets(model, seed, data, retrain)
        report["budgets"] += plain
        report["retrained"] += trained
    print(channel_tables.budgets(report["budgets"]), flush=True)
    print(channel_tables.retrained(report["budgets"], report["retrained"]), flush=True)
    report["choice"] = list(each_alone(first, moments_of(first, data.train), FRACTIONS, data.test))
    print(channel_tables.choice(report["choice"]), flush=True)
    report["choice_resnet20"] = list(resnet_choice(arguments.data))
    print(channel_tables.choice(report["choice_resnet20"]), flush=True)
    print(f"{time.perf_counter() - start:.0f} s")
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")


def course(model: LeNet5, data: Mnist) -> Iterator[Row]:
    """The group lasso on `fc2` as the course asks: its λ, and the λ that keeps as many as it says.

    `R = (x/d)(xᵀ/n)` and `B = (y/d)(xᵀ/n)` with `y = W x`, d = 500 inputs and n = 60,000 images;
    the bias variant appends an unpenalised one to x.
    """
    gram = augmented_gram(model, data.train[0])
    weight = model.fc2.weight.detach().double()
    width = weight.shape[1]
    for variant, columns in (("plain", width), ("bias", width + 1)):
        r = gram[:columns, :columns] / width
        b = torch.cat([weight, weight.new_zeros(len(weight), 1)], 1)[:, :columns] @ r
        free = [] if variant == "plain" else [width]
        sized = group_lasso_path(r, b, sizes=[COURSE_KEPT[variant]], unpenalised=free).results[0]
        for asked, result in (
            ("λ = 0.01", group_lasso(r, b, COURSE_ALPHA, unpenalised=free)),
            (f"{COURSE_KEPT[variant]} columns", sized),
        ):
            debiased = debias(r, b, result.solution, unpenalised=free)[0]
            yield {
                "variant": variant,
                "asked": asked,
                "alpha": result.alpha,
                "kept": len(result.support),
                "columns": width,
                "gap": result.gap,
                **collapsed(model, result.support.tolist(), result.solution, debiased, data.test),
            }


@torch.inference_mode()
def augmented_gram(model: LeNet5, images: Tensor, batch: int = 500) -> Tensor:
    """Mean of `[x; 1] [x; 1]ᵀ` over the inputs x of `fc2`, in float64."""
    inputs: list[Tensor] = []
    handle = model.fc2.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    total = torch.zeros(model.fc2.in_features + 1, model.fc2.in_features + 1, dtype=torch.float64)
    for part in images.split(batch):
        model(part)
        x = inputs.pop().double()
        x = torch.cat([x, x.new_ones(len(x), 1)], 1)
        total += x.mT @ x
    handle.remove()
    return total / len(images)


def collapsed(
    model: LeNet5, kept: list[int], shrunk: Tensor, debiased: Tensor, test: Labelled
) -> Row:
    """Accuracy with zero columns in `fc2`, and without them and the rows of `fc1` they read."""
    (group,) = (g for g in coupling(model, test[0][:1]).groups if "fc2" in g.readers)
    row: Row = {"dense": score(model, test)[0]}
    for name, matrix in (("shrunk", shrunk), ("debiased", debiased)):
        before = with_readout(model, matrix)
        after = copy.deepcopy(before)
        without_units(after, [(group, kept)])
        (row[f"{name}_before"], one), (row[f"{name}_after"], two) = (
            score(m, test) for m in (before, after)
        )
        row[f"{name}_answers_changed"] = int((one != two).sum())
        row["params"] = count_params(after) / count_params(model)
    return row


@torch.no_grad()
def with_readout(model: LeNet5, matrix: Tensor) -> LeNet5:
    """A copy whose `fc2` is this matrix; a further column adds to its bias."""
    model = copy.deepcopy(model)
    width = model.fc2.in_features
    model.fc2.weight.copy_(matrix[:, :width])
    model.fc2.bias += matrix[:, width:].sum(1)
    return model


def score(model: nn.Module, test: Labelled) -> tuple[float, Tensor]:
    """Accuracy and the answers themselves."""
    answers = logits_of(model, test[0]).argmax(1)
    return float((answers == test[1]).double().mean()), answers


def moments_of(model: nn.Module, train: Labelled) -> eckart.Moments:
    """From the first 2,000 training images."""
    parts = (part[:CALIBRATION].split(BATCH) for part in train)
    return eckart.calibrate(model, list(zip(*parts, strict=True)), progress=False)


def budgets(
    model: nn.Module, seed: int, data: Mnist, retrain: Sequence[float]
) -> tuple[list[Row], list[Row]]:
    """Every family of options at every budget; the joint plan is retrained at some of them."""
    moments = moments_of(model, data.train)
    dense = score(model, data.test)[0]
    teacher = logits_of(model, data.train[0])
    plain: list[Row] = []
    trained: list[Row] = []
    for method, options in METHODS.items():
        start = time.perf_counter()
        curves = eckart.curves(model, moments, progress=False, **options)
        seconds = time.perf_counter() - start
        for keep in KEEPS:
            row: Row = {"seed": seed, "method": method, "keep": keep, "dense": dense}
            try:
                plan = eckart.allocate(curves, eckart.Budget(params=keep))
            except BudgetError as error:
                print(f"{method} {keep}: {error}", flush=True)
                continue
            small = eckart.apply(model, plan, moments)
            row |= {
                "params": count_params(small) / count_params(model),
                "macs": plan.costs["macs"] / plan.totals["macs"],
                "accuracy": score(small, data.test)[0],
                "loss": plan.loss,
                "bound": plan.bound,
                "curves_seconds": seconds,
            }
            plain.append(row)
            if method == "joint" and keep in retrain:
                trained += retrained_rows(small, seed, keep, teacher, data)
    return plain, trained


def retrained_rows(
    small: nn.Module, seed: int, keep: float, teacher: Tensor, data: Mnist
) -> Iterator[Row]:
    """One network after each recipe."""
    images, labels = data.train
    for recipe in RECIPES:
        start = time.perf_counter()
        model = retrained(small, recipe, images, teacher if recipe.distilled else labels)
        yield {
            "seed": seed,
            "keep": keep,
            "recipe": recipe.name,
            "rate": recipe.rate,
            "batch": recipe.batch,
            "params": count_params(model) / 431_080,
            "accuracy": score(model, data.test)[0],
            "seconds": time.perf_counter() - start,
        }


def resnet_choice(root: Path | None) -> Iterator[Row]:
    """ResNet-20's nine inner groups at the same fraction."""
    model = load_resnet(root)
    images, labels = cifar10(root)
    moments = moments_of(model, (images[:CALIBRATION].clone(), labels[:CALIBRATION].clone()))
    yield from all_at_once(model, moments, FRACTIONS[:2], cifar10(root, "test"))


if __name__ == "__main__":
    main()

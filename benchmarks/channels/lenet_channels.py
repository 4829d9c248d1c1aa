"""Fewer channels of LeNet-5 on MNIST: the course's results, the frontier, retraining, the choice.

python -m benchmarks.channels.lenet_channels --data ../data
"""

import argparse
import copy
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import eckart
from benchmarks.channels.channel_choice import Row, all_at_once, each_alone
from benchmarks.measuring.counts import count_params
from benchmarks.subjects.data import cifar10, mnist
from benchmarks.subjects.networks import LeNet5, load_resnet, trained_lenet
from benchmarks.subjects.retraining import Recipe, logits_of, retrained
from benchmarks.tables import channels as channel_tables
from eckart.errors import BudgetError
from eckart.linalg import Reader, backward_elimination, debias, group_lasso, group_lasso_path
from eckart.methods import DEFAULT_METHODS
from eckart.network.channel_groups import coupling
from eckart.network.removal import without_units

OUTPUT = Path("benchmarks/results/lenet-channels.json")
CALIBRATION, BATCH = 2000, 100
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
FRACTIONS = (0.75, 0.5, 0.35, 0.25, 0.15, 0.1)
COURSE_ALPHA, COURSE_KEPT = 0.01, {"plain": 56, "bias": 53}  # 16.5 and 15.9 % of the parameters
PARTS = {
    "course": ("course",),
    "budgets": ("budgets", "retrained"),
    "choice": ("choice", "choice_resnet20"),
}
"""What can be run by itself, and its keys in the results."""
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
    parser.add_argument(
        "--parts",
        nargs="+",
        default=list(PARTS),
        choices=list(PARTS),
        help="others stay as they are",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = Mnist(mnist(arguments.data), mnist(arguments.data, "test"))
    start = time.perf_counter()
    known = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    report: dict[str, list[Row]] = {
        **known,
        **{name: [] for p in arguments.parts for name in PARTS[p]},
    }
    for seed in arguments.seeds:
        model = trained_lenet(arguments.data, seed)
        inputs = inputs_of(model.fc2, model, data.train[0])
        if "course" in arguments.parts:
            report["course"] += course(model, seed, inputs, data)
        if "budgets" in arguments.parts:
            found = budgets(model, seed, data, model.fc2(inputs).detach())
            report["budgets"] += found[0]
            report["retrained"] += found[1]
        arguments.output.write_text(json.dumps(report, indent=1) + "\n")
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    if "choice" in arguments.parts:
        model = trained_lenet(arguments.data, arguments.seeds[0])
        moments = moments_of(model, data.train)
        report["choice"] += each_alone(model, moments, FRACTIONS, data.test)
        report["choice_resnet20"] += resnet_choice(arguments.data)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    for name, make in channel_tables.MAKERS.items():
        print(f"{make(report)}\n" if report.get(name) else f"{name}: not measured")
    print(f"{time.perf_counter() - start:.0f} s")


def course(model: LeNet5, seed: int, inputs: Tensor, data: Mnist) -> Iterator[Row]:
    """The group lasso on `fc2` as the course asks: its λ, and the λ that keeps as many as it says.

    `R = (x/d)(xᵀ/n)` and `B = (y/d)(xᵀ/n)` with `y = W x`, d = 500 inputs and n = 60,000 images;
    the bias variant appends an unpenalised one to x. Beside it, as many columns chosen by backward
    elimination on the same quadratic form.
    """
    gram = augmented_gram(inputs)
    test = inputs_of(model.fc1, model, data.test[0]), data.test[1]
    weight = model.fc2.weight.detach().double()
    width = weight.shape[1]
    for variant, columns in (("plain", width), ("bias", width + 1)):
        r = gram[:columns, :columns] / width
        w = torch.cat([weight, weight.new_zeros(len(weight), 1)], 1)[:, :columns]
        b, free, size = w @ r, list(range(width, columns)), COURSE_KEPT[variant]
        path = group_lasso_path(r, b, sizes=[size], unpenalised=free)
        for asked, alpha, start in (
            ("λ = 0.01", COURSE_ALPHA, group_lasso(r, b, COURSE_ALPHA, unpenalised=free).solution),
            (f"{size} columns", path.alphas[0], path.results[0].solution),
            ("backward elimination", None, _eliminated(r, w, size)),
        ):
            refitted = debias(r, b, start, unpenalised=free)[0]
            yield {
                "seed": seed,
                "variant": variant,
                "asked": asked,
                "alpha": alpha,
                **collapsed(model, start, refitted, test),
            }


def _eliminated(r: Tensor, w: Tensor, size: int, width: int = 500) -> Tensor:
    """The columns of `w` that backward elimination keeps and those past `width`; others zero."""
    damped = r + 1e-8 * r.diagonal().mean() * torch.eye(len(r), dtype=r.dtype)
    columns = tuple(torch.tensor([column]) for column in range(width))
    order = backward_elimination([Reader(damped, w.mT @ w, columns)])
    start = w.clone()
    start[:, order[size:]] = 0.0
    return start


@torch.no_grad()
def inputs_of(layer: nn.Module, model: nn.Module, images: Tensor) -> Tensor:
    """What a layer of the model reads, for all images."""
    inputs: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    logits_of(model, images)
    handle.remove()
    return torch.cat(inputs)


def augmented_gram(inputs: Tensor, rows: int = 5000) -> Tensor:
    """Mean of `[x; 1] [x; 1]ᵀ` in float64."""
    width = inputs.shape[1] + 1
    total = torch.zeros(width, width, dtype=torch.float64)
    for part in inputs.double().split(rows):
        x = torch.cat([part, part.new_ones(len(part), 1)], 1)
        total += x.mT @ x
    return total / len(inputs)


def collapsed(model: LeNet5, start: Tensor, refitted: Tensor, test: Labelled) -> Row:
    """Accuracy with zero columns in `fc2`, and without them and the rows of `fc1` they read.

    The convolutions stay, so `test` holds the inputs of `fc1`.
    """
    (group,) = (g for g in coupling(model, torch.zeros(1, 1, 28, 28)).groups if "fc2" in g.readers)
    kept = start[:, : group.size].norm(dim=0).nonzero().flatten().tolist()
    row: Row = {"dense": score_head(model, test)[0], "kept": len(kept), "columns": group.size}
    for name, matrix in (("start", start), ("debiased", refitted)):
        before = with_readout(model, matrix)
        after = copy.deepcopy(before)
        without_units(after, [(group, kept)])
        (row[f"{name}_before"], one), (row[f"{name}_after"], two) = (
            score_head(m, test) for m in (before, after)
        )
        row[f"{name}_answers_changed"] = int((one != two).sum())
        row["params"] = count_params(after) / count_params(model)
    return row


@torch.inference_mode()
def score_head(model: LeNet5, test: Labelled) -> tuple[float, Tensor]:
    """Accuracy and answers from the inputs of `fc1`."""
    answers = model.fc2(F.relu(model.fc1(test[0]))).argmax(1)
    return float((answers == test[1]).double().mean()), answers


@torch.no_grad()
def with_readout(model: LeNet5, matrix: Tensor) -> LeNet5:
    """A copy whose `fc2` is this matrix; a further column adds to its bias."""
    model = copy.deepcopy(model)
    width = model.fc2.in_features
    model.fc2.weight.copy_(matrix[:, :width])
    model.fc2.bias.add_(matrix[:, width:].sum(1))
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
    model: nn.Module, seed: int, data: Mnist, teacher: Tensor
) -> tuple[list[Row], list[Row]]:
    """Every family of options at every budget; the joint plan is retrained at some of them."""
    moments, retrain = moments_of(model, data.train), RETRAINED if seed == 0 else RETRAINED[-1:]
    dense = score(model, data.test)[0]
    plain: list[Row] = []
    trained: list[Row] = []
    for method, names in METHODS.items():
        start = time.perf_counter()
        curves = eckart.curves(model, moments, methods=names, progress=False)
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

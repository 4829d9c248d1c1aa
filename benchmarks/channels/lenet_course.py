"""The group lasso on LeNet-5's last layer as in the course, and columns by elimination."""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measuring.counts import count_params
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.subjects.data import Labelled, mnist
from benchmarks.subjects.networks import LeNet5
from benchmarks.subjects.scoring import logits_of
from benchmarks.subjects.trained import trained_lenet
from eckart.linalg import Reader, backward_elimination, debias, group_lasso, group_lasso_path
from eckart.network.channel_groups import coupling
from eckart.network.removal import without_units

COURSE_ALPHA, COURSE_KEPT = 0.01, {"plain": 56, "bias": 53}  # 16.5 and 15.9 % of the parameters


def course(model: LeNet5, seed: int, train: Labelled, test: Labelled) -> Iterator[Row]:
    """The group lasso on `fc2` at the course's λ, and at the λ that keeps as many columns.

    `R = (x/d)(xᵀ/n)` and `B = (y/d)(xᵀ/n)` with `y = W x`, d = 500 inputs and n = 60,000 images;
    the bias variant appends an unpenalised one to x. For comparison, backward elimination
    chooses as many columns on the same quadratic form.
    """
    gram = augmented_gram(inputs_of(model.fc2, model, train[0]))
    seen = inputs_of(model.fc1, model, test[0]), test[1]
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
                **collapsed(model, start, refitted, seen),
            }


def _eliminated(r: Tensor, w: Tensor, size: int, width: int = 500) -> Tensor:
    """`w` with zero columns except those that elimination keeps and those past `width`."""
    damped = r + 1e-8 * r.diagonal().mean() * torch.eye(len(r), dtype=r.dtype)
    columns = tuple(torch.tensor([column]) for column in range(width))
    order = backward_elimination([Reader(damped, w, columns)])
    start = w.clone()
    start[:, order[size:]] = 0.0
    return start


@torch.no_grad()
def inputs_of(layer: nn.Module, model: nn.Module, images: Tensor) -> Tensor:
    """The inputs of a layer of the model, for all images."""
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

    The convolutions do not change, so `test` holds the inputs of `fc1`.
    """
    (group,) = (g for g in coupling(model, torch.zeros(1, 1, 28, 28)).groups if "fc2" in g.readers)
    kept = start[:, : group.size].norm(dim=0).nonzero().flatten().tolist()
    row: Row = {"dense": head_accuracy(model, test)[0], "kept": len(kept), "columns": group.size}
    for name, matrix in (("start", start), ("debiased", refitted)):
        before = with_readout(model, matrix)
        after = copy.deepcopy(before)
        without_units(after, [(group, kept)])
        (row[f"{name}_before"], one), (row[f"{name}_after"], two) = (
            head_accuracy(m, test) for m in (before, after)
        )
        row[f"{name}_answers_changed"] = int((one != two).sum())
        row["params"] = count_params(after) / count_params(model)
    return row


@torch.inference_mode()
def head_accuracy(model: LeNet5, test: Labelled) -> tuple[float, Tensor]:
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


def measure(output: Path, data: Path | None = None, *, seeds: Sequence[int] = (0, 1, 2)) -> None:
    """Measure networks of the given seeds again; rows of other seeds stay."""
    results = Results(output)
    train, test = mnist(data), mnist(data, "test")
    for seed in seeds:
        results.forget(seed=seed)
        for row in course(trained_lenet(data, seed), seed, train, test):
            results.add(row)


MEASUREMENT = Measurement(measure)

"""Damping by hand against moments shrunk as their batches say: losses on other data, and scores.

For each number of examples: low-rank factors of some layers at three ranks, and their loss under
moments of other data; and whole networks at two sizes, with that loss and the score.

Rows already in the results are not measured again; to do so, delete them or the file.
"""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn

import eckart
from benchmarks.main_path.shrinkage_subjects import SUBJECTS, Subject
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from eckart.layers import as_matrix
from eckart.linalg import quadratic_loss
from eckart.methods import methods_named, problem_of
from eckart.moments.shrinkage import shrinkage_of
from eckart.records.offer import AUTO, DAMPING

RANKS = (0.6, 0.4, 0.2)  # of the rank that takes as many weights as the layer
FIXED = (1e-6, 1e-3, 0.01, 0.03, 0.1, 0.3)
FACTORS = ("weighted_svd",)


def in_layer(
    model: nn.Module, name: str, known: eckart.Moments, other: eckart.Moments, damping: float | str
) -> Tensor:
    """Losses of one layer's factors at each rank, on other data."""
    layer = model.get_submodule(name)
    shrinkage = shrinkage_of(known, name) if damping == AUTO else None
    fixed = DAMPING if isinstance(damping, str) else damping
    (method,) = methods_named(FACTORS)
    state = method.prepare(problem_of(layer, name, known, fixed, shrinkage))
    weight, a, g = as_matrix(layer).double(), other.loss_a(name), other.g(name)
    losses = []
    for share in RANKS:
        rank = max(1, int(share * weight[0].numel() / sum(weight[0].shape)))
        product = state.left[..., :rank].double() @ state.right[:, :rank].double()
        losses.append(quadratic_loss(weight - product, a, g))
    return torch.tensor(losses, dtype=torch.float64)


def in_layers(
    subject: Subject, known: Mapping[str, eckart.Moments], other: eckart.Moments
) -> Iterator[Row]:
    """For each damping: geometric mean over layers, relative to the best fixed damping."""
    names = [n for n in other.specs if any(fnmatchcase(n, some) for some in subject.layers)]
    logs = {
        (metric, damping): torch.stack(
            [in_layer(subject.model, name, moments, other, damping) for name in names]
        )
        .log()
        .mean(0)
        for metric, moments in known.items()
        for damping in (*FIXED, AUTO)
    }
    best = torch.stack([logs[AUTO, damping] for damping in FIXED]).min(0).values
    for (metric, damping), each in logs.items():
        relative = [round(value, 4) for value in (each - best).exp().tolist()]
        yield {"metric": metric, "damping": damping, "relative": relative, "layers": len(names)}


def in_network(
    subject: Subject, known: eckart.Moments, other: eckart.Moments, damping: float | str
) -> Iterator[Row]:
    """For each size: the predicted loss, that of the same network on other data, and the score."""
    options = eckart.curves(subject.model, known, methods=FACTORS, damping=damping, progress=False)
    for keep in subject.keeps:
        plan = eckart.allocate(options, eckart.Budget(params=keep, of="sites"))
        smaller = eckart.merge(eckart.apply(subject.model, plan, known))
        losses = [
            quadratic_loss(
                (as_matrix(smaller.get_submodule(name)) - as_matrix(layer)).double(),
                other.loss_a(name),
                other.g(name),
            )
            for name in plan.choices
            for layer in [subject.model.get_submodule(name)]
        ]
        row: Row = {"keep": keep, "predicted": plan.loss, "on other data": sum(losses)}
        if subject.evaluate is not None:
            score = eckart.Score.of(subject.evaluate(smaller))
            row |= {"score": score.value, "n": score.n}
        yield row


def measure(
    output: Path,
    data: Path | None = None,
    *,
    subjects: Sequence[str] = tuple(SUBJECTS),
    examples: Sequence[int] = (),
    networks: bool = True,
) -> None:
    """Measure the rows that the results do not have yet; of these numbers of examples, if given."""
    results = Results(output)
    for title in subjects:
        subject = SUBJECTS[title](data)
        other = eckart.calibrate(subject.model, subject.other, seed=1, progress=False)
        for count in [n for n in subject.examples if not examples or n in examples]:
            of = {"subject": title, "examples": count}
            if results.has(**of):
                continue
            cut = subject.batches(count)
            known = {
                name: eckart.calibrate(subject.model, cut, metric=metric, progress=False)
                for name, metric in subject.metrics.items()
            }
            results.add(*({**of, **row} for row in in_layers(subject, known, other)))
            for metric, damping in [(m, d) for m in known for d in (*FIXED, AUTO) if networks]:
                for row in in_network(subject, known[metric], other, damping):
                    results.add({**of, "metric": metric, "damping": damping, **row})


MEASUREMENT = Measurement(measure, choices={"subjects": tuple(SUBJECTS)})

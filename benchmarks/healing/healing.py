"""What healing buys: every treatment alone and in order, against the same time of calibration.

python -m benchmarks.healing.healing --data ../data

Rows that the results hold are not measured again; delete them, or the file, to have them anew.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

import eckart
from benchmarks.measuring.counts import count_params
from benchmarks.measuring.results_file import Results, Row
from benchmarks.subjects.data import Labelled, cifar10, flipped_and_cropped, mnist
from benchmarks.subjects.networks import (
    accuracy,
    channels_last,
    load_resnet,
    trained_densenet,
    trained_lenet,
)
from eckart.cli.sources.demo_networks import Digits, load_digits, make_cnn, train
from eckart.methods import DEFAULT_METHODS
from eckart.stages.heal.closeness import closeness

OUTPUT = Path("benchmarks/results/healing.json")
KEEPS = (0.5, 0.3)
CALIBRATION, CALIBRATION_BATCH = 2000, 250
JUDGED = 2000  # of the training images, at most a fifth of them, that nothing is fitted to
ALONE = ("correct", "refit", "distil")
IN_ORDER, MORE_DATA = "correct,refit,distil", "calibrated on all"
ROWS = (*ALONE, IN_ORDER, MORE_DATA)
WITH_CP = ("weighted_svd", "cp", "spatial")  # not among the defaults: few ranks, found slowly


@dataclass(frozen=True)
class Subject:
    """A trained network and its data.

    Attributes:
        model: the dense network.
        train, test: images and labels; the last of the training images judge.
        batch: images per gradient step.
        changed: what is done to a batch of images before a step.
        passes: of distillation over the images.
        closed_form: how many images the treatments in closed form see.
        methods: that the smaller networks are chosen from.
    """

    model: nn.Module
    train: Labelled
    test: Labelled
    batch: int = 128
    changed: Callable[[Tensor], Tensor] = lambda images: images
    passes: int = 2
    closed_form: int = 5000
    methods: tuple[str, ...] = DEFAULT_METHODS

    @property
    def fitted(self) -> int:
        """How many of the training images are not kept to judge by."""
        total = len(self.train[0])
        return total - min(JUDGED, total // 5)

    def calibrated(self, images: int) -> eckart.Moments:
        """Moments of the first training images."""
        return eckart.calibrate(
            self.model, pairs(self.train, 0, min(images, self.fitted)), progress=False
        )

    @cached_property
    def moments(self) -> eckart.Moments:
        """Of as many images as every compressed network is made from."""
        return self.calibrated(CALIBRATION)


@dataclass(frozen=True)
class Shuffled:
    """The first images in another order in each pass, changed at random."""

    subject: Subject
    images: int

    def __len__(self) -> int:
        return -(-self.images // self.subject.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self.subject.train
        for rows in torch.randperm(self.images).split(self.subject.batch):
            yield channels_last(self.subject.changed(images[rows])), labels[rows]


def pairs(data: Labelled, start: int, end: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of a part of the data, in order."""
    parts = [part[start:end].split(CALIBRATION_BATCH) for part in data]
    return [(channels_last(x), y) for x, y in zip(*parts, strict=True)]


def digits() -> Subject:
    """The CNN of the demo."""
    trained, tested = load_digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = train(make_cnn(), trained, epochs=20)

    def labelled(part: Digits) -> Labelled:
        return part.images, part.labels

    return Subject(model, labelled(trained), labelled(tested), batch=50, passes=10)


def on_cifar(
    model: nn.Module,
    root: Path | None,
    passes: int,
    closed_form: int,
    methods: tuple[str, ...] = DEFAULT_METHODS,
) -> Subject:
    parts = (cifar10(root, split) for split in ("train", "test"))
    return Subject(model, *parts, 64, flipped_and_cropped, passes, closed_form, methods)


SUBJECTS: dict[str, Callable[[Path | None], Subject]] = {
    "digits": lambda root: digits(),
    "lenet5": lambda root: Subject(trained_lenet(root), mnist(root, "train"), mnist(root, "test")),
    "densenet22": lambda root: on_cifar(trained_densenet(root), root, 1, 2000),
    "resnet20": lambda root: on_cifar(load_resnet(root, 20), root, 2, 5000),
    "resnet20, with CP": lambda root: on_cifar(load_resnet(root, 20), root, 2, 5000, WITH_CP),
    "resnet32": lambda root: on_cifar(load_resnet(root, 32), root, 1, 2000),
}


def healed(subject: Subject, smaller: nn.Module, names: Sequence[str]) -> nn.Module:
    """Treatments in closed form on a few images, gradient steps on all, each judged on others."""
    closed = [name for name in names if name != "distil"]
    if closed:
        batches = pairs(subject.train, 0, min(subject.closed_form, subject.fitted))
        smaller = eckart.heal(
            smaller,
            subject.model,
            batches,
            moments=subject.moments,
            treatments=closed,
            progress=False,
        ).model
    if len(closed) == len(names):
        return smaller
    judged = pairs(subject.train, subject.fitted, len(subject.train[0]))
    loader = Shuffled(subject, subject.fitted)
    done = eckart.heal(
        smaller,
        subject.model,
        loader,
        treatments=["distil"],
        steps=subject.passes * len(loader),
        evaluate=closeness(subject.model, judged),
        held_out=0.0,
    )
    print(done.table(), flush=True)
    return done.model


@dataclass(frozen=True)
class Study:
    """One network: its subject, and what its rows have in common."""

    name: str
    subject: Subject

    def compressed(self, keep: float, moments: eckart.Moments) -> nn.Module:
        subject = self.subject
        return eckart.compress(
            subject.model, moments, keep=keep, methods=subject.methods, progress=False
        ).model

    def row(self, keep: float, treatment: str) -> Row:
        """One row; ``seconds`` of CPU after the network was first made smaller."""
        subject = self.subject
        start = self.compressed(keep, subject.moments)
        moments, seconds = self.all_moments if treatment == MORE_DATA else (None, 0.0)
        before = time.process_time()
        if moments is not None:
            model = self.compressed(keep, moments)
        else:
            model = healed(subject, start, treatment.split(","))
        seconds += time.process_time() - before
        return {
            "network": self.name,
            "keep": keep,
            "treatment": treatment,
            "params": count_params(model) / count_params(subject.model),
            "dense": accuracy(subject.model, *subject.test),
            "start": accuracy(start, *subject.test),
            "accuracy": accuracy(model, *subject.test),
            "images": len(subject.test[0]),
            "seconds": seconds,
        }

    @cached_property
    def all_moments(self) -> tuple[eckart.Moments, float]:
        """Of all training images that do not judge, and the CPU seconds that took."""
        before = time.process_time()
        moments = self.subject.calibrated(self.subject.fitted)
        return moments, time.process_time() - before


def main() -> None:
    parser = argparse.ArgumentParser(description="What healing buys")
    parser.add_argument("--data", type=Path, help="data folder; default ECKART_DATA")
    parser.add_argument("--networks", nargs="+", default=list(SUBJECTS), choices=list(SUBJECTS))
    parser.add_argument("--keep", nargs="+", type=float, default=list(KEEPS))
    parser.add_argument("--treatments", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = Results(arguments.output)
    for name in arguments.networks:
        asked = [(keep, row) for keep in arguments.keep for row in arguments.treatments]
        missing = [
            (keep, row)
            for keep, row in asked
            if not results.has(network=name, keep=keep, treatment=row)
        ]
        if not missing:
            continue
        study = Study(name, SUBJECTS[name](arguments.data))
        for keep, treatment in missing:
            if treatment == MORE_DATA and study.subject.fitted <= CALIBRATION:
                continue  # all of them calibrate already
            results.add(study.row(keep, treatment))


if __name__ == "__main__":
    main()

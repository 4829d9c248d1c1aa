"""Networks to be healed, with the images that heal and judge them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

import eckart
from benchmarks.subjects.data import (
    CALIBRATION_IMAGES,
    Labelled,
    batches,
    channels_last,
    cifar10,
    flipped_and_cropped,
    mnist,
)
from benchmarks.subjects.trained import load_resnet, trained_densenet, trained_lenet
from eckart.cli.sources.demo_networks import Digits, load_digits, make_cnn, train
from eckart.methods import DEFAULT_METHODS

JUDGED = 2000  # training images that nothing is fitted to, at most a fifth of all
WITH_CP = ("weighted_svd", "cp", "spatial")  # CP is not a default: it finds few ranks, and slowly


@dataclass(frozen=True)
class Subject:
    """A trained network and its data.

    Attributes:
        model: the dense network.
        train, test: images and labels; the last training images are kept for judging.
        batch: images per gradient step.
        changed: changes a batch of images before a step.
        passes: passes of distillation over the images.
        closed_form: how many images the treatments in closed form see.
        methods: the methods that the smaller networks are chosen from.
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
        """The number of training images that are not kept for judging."""
        total = len(self.train[0])
        return total - min(JUDGED, total // 5)

    def calibrated(self, images: int) -> eckart.Moments:
        """Moments of the first training images."""
        return eckart.calibrate(
            self.model, pairs(self.train, 0, min(images, self.fitted)), progress=False
        )

    @cached_property
    def moments(self) -> eckart.Moments:
        """Moments of the images that every compressed network is made from."""
        return self.calibrated(CALIBRATION_IMAGES)


@dataclass(frozen=True)
class Shuffled:
    """The first images, in a different order in each pass and changed at random."""

    subject: Subject
    images: int

    def __len__(self) -> int:
        return -(-self.images // self.subject.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self.subject.train
        for rows in torch.randperm(self.images).split(self.subject.batch):
            yield channels_last(self.subject.changed(images[rows])), labels[rows]


def pairs(data: Labelled, start: int, end: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of one part of the data, in order."""
    images, labels = data
    part = images[start:end], labels[start:end]
    return [(channels_last(x), y) for x, y in batches(part)]


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
    train, test = (cifar10(root, split) for split in ("train", "test"))
    return Subject(model, train, test, 64, flipped_and_cropped, passes, closed_form, methods)


SUBJECTS: dict[str, Callable[[Path | None], Subject]] = {
    "digits": lambda root: digits(),
    "lenet5": lambda root: Subject(trained_lenet(root), mnist(root, "train"), mnist(root, "test")),
    "densenet22": lambda root: on_cifar(trained_densenet(root), root, 1, 2000),
    "resnet20": lambda root: on_cifar(load_resnet(root, 20), root, 2, 5000),
    "resnet20, with CP": lambda root: on_cifar(load_resnet(root, 20), root, 2, 5000, WITH_CP),
    "resnet32": lambda root: on_cifar(load_resnet(root, 32), root, 1, 2000),
}

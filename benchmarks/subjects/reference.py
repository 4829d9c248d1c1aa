"""A trained network by name, with its calibration and test data."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from benchmarks.subjects.data import CALIBRATION_IMAGES, Labelled, batches, cifar10, first, mnist
from benchmarks.subjects.trained import (
    load_resnet,
    trained_lenet,
    trained_mlp,
    trained_residual_mlp,
)

Read = Callable[[Path | None, str], Labelled]
NETWORKS = ("resnet20", "resnet32", "lenet5")
PERCEPTRONS = ("mlp", "residual-mlp")


@dataclass(frozen=True)
class Reference:
    """A trained network and its images.

    Attributes:
        network: the name.
        model: in eval mode.
        calibration: training images with labels.
        test: images with labels that are used for nothing else.
    """

    network: str
    model: nn.Module
    calibration: Labelled
    test: Labelled

    @property
    def batches(self) -> list[Labelled]:
        """The calibration images in batches."""
        return batches(self.calibration)


def reference(
    network: str, data: Path | None = None, calibration: int = CALIBRATION_IMAGES, test: int = 0
) -> Reference:
    """The network with the first training images and the first test images (0: all)."""
    read, model = _network(network, data)
    trained, tested = read(data, "train"), read(data, "test")
    return Reference(
        network, model, first(trained, calibration), first(tested, test) if test else tested
    )


def _network(name: str, data: Path | None) -> tuple[Read, nn.Module]:
    if name == "lenet5":
        return mnist, trained_lenet(data)
    if name == "mlp":
        return mnist, trained_mlp(data)
    if name == "residual-mlp":
        return cifar10, trained_residual_mlp(data)
    return cifar10, load_resnet(data, int(name.removeprefix("resnet")))

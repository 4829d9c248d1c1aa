"""Trained reference networks: published ones, or trained here once and cached."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.subjects.data import (
    CACHE,
    Labelled,
    channels_last,
    cifar10,
    data_root,
    digest_of,
    flipped_and_cropped,
    mnist,
    write_tensors,
)
from benchmarks.subjects.networks import CifarResNet, DenseNet, LeNet5, mlp, residual_mlp
from examples.study_kit.made_by import made_by

M = TypeVar("M", bound=nn.Module)


def load_resnet(root: str | Path | None = None, depth: int = 20) -> CifarResNet:
    """The trained ResNet-20 or -32 of `root/cifar10_resnet`, in eval mode."""
    path = data_root(root) / "cifar10_resnet" / f"resnet{depth}.safetensors"
    model = CifarResNet(depth)
    missing, unexpected = model.load_state_dict(load_file(path), strict=False)
    wrong = [name for name in missing if not name.endswith("num_batches_tracked")] + unexpected
    if wrong:
        raise ValueError(f"{path}: names that do not match ResNet-{depth}: {wrong}")
    return model.eval()


def trained_lenet(root: str | Path | None = None, seed: int = 0, cache: Path = CACHE) -> LeNet5:
    """LeNet-5 trained for 8 epochs on MNIST, from the cache if it is there; in eval mode."""
    return _trained(LeNet5, "lenet5", mnist, root, Schooling(epochs=8, rate=0.02), seed, cache)


def trained_densenet(
    root: str | Path | None = None, seed: int = 0, cache: Path = CACHE
) -> DenseNet:
    """DenseNet-22 trained for 8 epochs on CIFAR-10, flipped and cropped; cached, in eval mode."""
    training = Schooling(epochs=8, rate=0.1, moved=True)
    return _trained(DenseNet, "densenet22", cifar10, root, training, seed, cache)


def trained_mlp(root: str | Path | None = None, seed: int = 0, cache: Path = CACHE) -> nn.Module:
    """784 → 1000 → 1000 → 10, trained for 8 epochs on MNIST; cached, in eval mode."""
    return _trained(mlp, "mlp", mnist, root, Schooling(epochs=8, rate=0.02), seed, cache)


def trained_residual_mlp(
    root: str | Path | None = None, seed: int = 0, cache: Path = CACHE
) -> nn.Module:
    """3072 → 1000, two residual blocks, → 10, trained for 8 epochs on CIFAR-10; in eval mode."""
    training = Schooling(epochs=8, rate=0.01)
    return _trained(residual_mlp, "residual-mlp", cifar10, root, training, seed, cache)


@dataclass(frozen=True)
class Schooling:
    """SGD with Nesterov momentum 0.9, weight decay 5e-4 and a cosine rate from `rate` down.

    With `moved`, each image is flipped and cropped at random before each step.
    """

    epochs: int
    rate: float
    batch: int = 64
    moved: bool = False

    def changed(self, images: Tensor) -> Tensor:
        """A batch as the network sees it."""
        return channels_last(flipped_and_cropped(images)) if self.moved else images


def _trained(
    make: Callable[[], M],
    name: str,
    read: Callable[..., Labelled],
    root: str | Path | None,
    training: Schooling,
    seed: int,
    cache: Path,
) -> M:
    """The network in eval mode, trained if the cache has none made in this way from these data."""
    model, split = make(), "train"
    data = digest_of(data_root(root) / read.__name__, split)
    key = made_by(model, training, seed, data, inspect.getsource(_train))
    path = Path(cache) / f"{name}-seed{seed}-{key}.safetensors"
    if not path.exists():
        write_tensors(_train(make, read(root, split), training, seed).state_dict(), path)
    model.load_state_dict(load_file(path))
    return model.eval()


def _train(make: Callable[[], M], data: Labelled, training: Schooling, seed: int) -> M:
    images, labels = data
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make()
        optimizer = torch.optim.SGD(
            model.parameters(), training.rate, momentum=0.9, nesterov=True, weight_decay=5e-4
        )
        steps = training.epochs * -(-len(images) // training.batch)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(training.epochs):
            for rows in torch.randperm(len(images)).split(training.batch):
                optimizer.zero_grad()
                F.cross_entropy(model(training.changed(images[rows])), labels[rows]).backward()
                optimizer.step()
                schedule.step()
    return model

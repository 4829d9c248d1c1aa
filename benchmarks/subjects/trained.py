"""Trained reference networks: published ones, or trained here once and cached."""

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
    flipped_and_cropped,
    mnist,
    write_tensors,
)
from benchmarks.subjects.networks import CifarResNet, DenseNet, LeNet5

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
    name = f"lenet5-mnist-seed{seed}"
    training = Schooling(epochs=8, rate=0.02)
    return _trained(LeNet5, name, lambda: mnist(root, "train"), training, seed, cache)


def trained_densenet(
    root: str | Path | None = None, seed: int = 0, cache: Path = CACHE
) -> DenseNet:
    """DenseNet-22 trained for 8 epochs on CIFAR-10, flipped and cropped; cached, in eval mode."""
    name = f"densenet22-cifar10-seed{seed}"
    training = Schooling(8, 0.1, changed=lambda x: channels_last(flipped_and_cropped(x)))
    return _trained(DenseNet, name, lambda: cifar10(root, "train"), training, seed, cache)


@dataclass(frozen=True)
class Schooling:
    """SGD with Nesterov momentum 0.9, weight decay 5e-4 and a cosine rate from `rate` down."""

    epochs: int
    rate: float
    batch: int = 64
    changed: Callable[[Tensor], Tensor] = lambda images: images


def _trained(
    make: Callable[[], M],
    name: str,
    read: Callable[[], Labelled],
    training: Schooling,
    seed: int,
    cache: Path,
) -> M:
    """The network in eval mode, trained if it is not in the cache."""
    path = Path(cache) / f"{name}.safetensors"
    if not path.exists():
        write_tensors(_train(make, read(), training, seed).state_dict(), path)
    model = make()
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

"""Two small networks and the digits they are trained on in seconds, without a network access."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from eckart.errors import InputError

_TESTED = 597  # of 1,797 images; the others train and calibrate
_BATCH = 100


@dataclass(frozen=True)
class Digits:
    """Handwritten digits of 8×8 pixels in 0…1, with their labels."""

    images: Float32[Tensor, "n 1 8 8"]
    labels: Int64[Tensor, " n"]

    def batches(self, size: int = _BATCH) -> list[tuple[Tensor, Tensor]]:
        """Batches of (inputs, targets), in order."""
        return list(zip(self.images.split(size), self.labels.split(size), strict=True))


def load_digits(seed: int = 0) -> tuple[Digits, Digits]:
    """The digits that come with scikit-learn: 1,200 to train on, 597 to test on.

    Source: Alpaydin & Kaynak 1998, "Optical recognition of handwritten digits", UCI.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise InputError(
            "the demo needs scikit-learn for its digits: pip install 'eckart[demo]'"
        ) from error
    digits = datasets.load_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1) / 16
    labels = torch.from_numpy(digits.target).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    test, train = order[:_TESTED], order[_TESTED:]
    return Digits(images[train], labels[train]), Digits(images[test], labels[test])


def make_mlp(width: int = 256) -> nn.Module:
    """Three matrices: 64 → width → width → 10."""
    layers: dict[str, nn.Module] = {
        "pixels": nn.Flatten(),
        "first": nn.Linear(64, width),
        "relu1": nn.ReLU(),
        "second": nn.Linear(width, width),
        "relu2": nn.ReLU(),
        "head": nn.Linear(width, 10),
    }
    return nn.Sequential(OrderedDict(layers))


def make_cnn(width: int = 64) -> nn.Module:
    """Three 3×3 convolutions with batch norm, the first of half the width, and a matrix."""
    layers: dict[str, nn.Module] = {}
    widths = ((1, width // 2), (width // 2, width), (width, width))
    for at, (inputs, outputs) in enumerate(widths, 1):
        layers[f"conv{at}"] = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        layers[f"norm{at}"] = nn.BatchNorm2d(outputs)
        layers[f"relu{at}"] = nn.ReLU()
        if at > 1:
            layers[f"pool{at}"] = nn.MaxPool2d(2)
    layers |= {"pixels": nn.Flatten(), "head": nn.Linear(4 * width, 10)}
    return nn.Sequential(OrderedDict(layers))


def train(model: nn.Module, digits: Digits, *, epochs: int, seed: int = 0) -> nn.Module:
    """Train with AdamW on a one-cycle schedule and images shifted by up to a pixel.

    Args:
        model: changed in place.
        digits: what to learn.
        epochs: passes over them.
        seed: of the order and the shifts.

    Returns:
        The same network, in eval mode.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    steps = epochs * -(-len(digits.labels) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(digits.labels), generator=generator)
        for chosen in order.split(_BATCH):
            loss = F.cross_entropy(
                model(_shifted(digits.images[chosen], generator)), digits.labels[chosen]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def _shifted(
    images: Float32[Tensor, "n 1 8 8"], generator: torch.Generator
) -> Float32[Tensor, "n 1 8 8"]:
    """The batch moved by up to one pixel, the same way for all its images."""
    down, right = torch.randint(3, (2,), generator=generator).tolist()
    return F.pad(images, (1, 1, 1, 1))[:, :, down : down + 8, right : right + 8]

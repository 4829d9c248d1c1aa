"""A small convolutional network, trained on scikit-learn's digits once per run."""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from sklearn import datasets
from torch import Tensor, nn

from eckart import Curves, Moments, calibrate, curves

Batches = list[tuple[Tensor, Tensor]]


class DigitsCnn(nn.Module):
    """Three convolutions with batch norm and two matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 32, 3, stride=2, padding=1)
        self.fc1 = nn.Linear(128, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv2(F.relu(self.conv1(x)))))
        x = F.relu(self.conv3(F.max_pool2d(x, 2)))
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


@pytest.fixture(autouse=True)
def seed():
    """Every test draws the same networks and data, in whichever order they run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@dataclass(frozen=True)
class Digits:
    """A trained network, data it was trained on, and data it was not."""

    model: nn.Module
    train: Batches
    choose: Batches
    test: Batches
    moments: Moments
    options: Curves

    def fresh(self) -> nn.Module:
        return DigitsCnn().eval()


@pytest.fixture(scope="session")
def digits() -> Digits:
    raw = datasets.load_digits()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        order = torch.randperm(len(raw.target))
        images = torch.from_numpy(raw.images).float()[order, None] / 16
        labels = torch.from_numpy(raw.target).long()[order]
        model = _trained(DigitsCnn(), images[:1000], labels[:1000])
    pairs = [
        list(zip(images[a:b].split(100), labels[a:b].split(100), strict=True))
        for a, b in ((0, 1000), (1000, 1400), (1400, 1797))
    ]
    moments = calibrate(model, pairs[0][:5])
    return Digits(model, *pairs, moments=moments, options=curves(model, moments))


def _trained(model: nn.Module, images: Tensor, labels: Tensor, epochs: int = 12) -> nn.Module:
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(50):
            optimizer.zero_grad()
            F.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
    return model.eval()

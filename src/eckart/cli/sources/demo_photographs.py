"""A trained ResNet-20 and the photographs of CIFAR-10, from a folder that has both."""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from eckart.cli.sources.hub_data import HubData
from eckart.cli.sources.images import Batches, Preprocessing
from eckart.cli.sources.models import fill
from eckart.errors import InputError

CALIBRATED, TESTED = 1000, 2000  # images
_PREPROCESSING = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), channels=3)
_WEIGHTS, _IMAGES = "cifar10_resnet/resnet20.safetensors", "cifar10"
_BATCH = 100


class Block(nn.Module):
    """Two 3×3 convolutions; the shortcut has no parameters and pads channels with zeros.

    Source: He et al. 2015 (1512.03385), section 4.2, option A.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.padded = stride, (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.padded:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *[self.padded] * 2))
        return F.relu(out + x)


class ResNet20(nn.Module):
    """Three stages of three blocks, 16, 32 and 64 channels, for images of 32 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, 1)
        self.layer2 = _stage(16, 32, 2)
        self.layer3 = _stage(32, 64, 2)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    rest = [Block(outputs, outputs, 1) for _ in range(2)]
    return nn.Sequential(Block(inputs, outputs, stride), *rest)


def trained_resnet20(folder: Path) -> nn.Module:
    """The network with its weights, in eval mode.

    Raises:
        InputError: the folder does not hold them.
    """
    model = ResNet20()
    fill(model, folder / _WEIGHTS)
    return model.eval()


def photographs(folder: Path) -> tuple[Batches, Batches]:
    """Images to calibrate on and images to test on, in batches.

    Raises:
        InputError: the folder does not hold them, or a package to read them is missing.
    """
    if not (folder / _IMAGES).is_dir():
        raise InputError(
            f"{folder} has no folder {_IMAGES!r}: --data wants {_IMAGES}/ (parquet, as uoft-cs/"
            f"cifar10 on the hub) and {_WEIGHTS}"
        )
    data = HubData(str(folder / _IMAGES), None, None)
    return _some(data, "train", CALIBRATED), _some(data, "test", TESTED)


def _some(data: HubData, split: str, count: int) -> Batches:
    images = data.split(split)
    chosen = range(min(count, len(images)))
    return Batches(images, chosen, _PREPROCESSING, _BATCH, labelled=True)

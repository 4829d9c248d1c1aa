"""The reference networks, and how their inner channels pass from layer to layer."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from eckart.cli.sources.demo_photographs import Block


@dataclass(frozen=True)
class Chain:
    """Channels that `producer` writes, `norm` (if any) scales and only `consumer` reads (names)."""

    producer: str
    norm: str | None
    consumer: str


class BasicBlock(Block):
    """The block of the demo's ResNet-20, which says what its channels connect."""

    def chains(self) -> list[Chain]:
        return [Chain("conv1", "bn1", "conv2")]


class CifarResNet(nn.Module):
    """ResNet-20, -32, -44, -56 … for 32×32 images: depth = 6n + 2, widths 16, 32, 64.

    Source: He et al. 2015 (1512.03385), section 4.2; names as akamaster/pytorch_resnet_cifar10.
    """

    def __init__(self, depth: int = 20) -> None:
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth {depth}: expected 6n + 2 with n ≥ 1, such as 20 or 32")
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Float[Tensor, "n 3 32 32"]) -> Float[Tensor, "n 10"]:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(inputs, outputs, stride), *rest)


class LeNet5(nn.Module):
    """Caffe's own LeNet, 20-50-500-10, 431,080 parameters: max pooling, one ReLU after `fc1`.

    The network of the study on reconstruction has two more, after the pooled convolutions.

    Source: LeCun et al. 1998; Jia et al. 2014 (Caffe), examples/mnist/lenet.prototxt.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(800, 500)
        self.fc2 = nn.Linear(500, 10)

    def forward(self, x: Float[Tensor, "n 1 28 28"]) -> Float[Tensor, "n 10"]:
        x = F.max_pool2d(self.conv1(x), 2)
        x = F.max_pool2d(self.conv2(x), 2)
        logits: Tensor = self.fc2(F.relu(self.fc1(x.flatten(1))))
        return logits

    def chains(self) -> list[Chain]:
        return [Chain(a, None, b) for a, b in pairwise(("conv1", "conv2", "fc1", "fc2"))]


class DenseLayer(nn.Module):
    """Batch norm, ReLU and a 3×3 convolution, whose output is appended to its input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, growth, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(F.relu(self.bn(x)))], 1)


class Transition(nn.Sequential):
    """Half the channels by a 1×1 convolution, half the side by average pooling."""

    def __init__(self, inputs: int) -> None:
        convolution = nn.Conv2d(inputs, inputs // 2, 1, bias=False)
        super().__init__(nn.BatchNorm2d(inputs), nn.ReLU(), convolution, nn.AvgPool2d(2))


class DenseNet(nn.Module):
    """DenseNet-22 for 32×32 images, three blocks of dense layers; its first layer halves the side.

    Source: Huang et al. 2017 (1608.06993), section 3, without bottlenecks, compression 0.5.
    """

    def __init__(self, layers: int = 6, growth: int = 12) -> None:
        super().__init__()
        width, parts = 2 * growth, list[nn.Module]()
        self.conv = nn.Conv2d(3, width, 3, 2, 1, bias=False)
        for block in range(3):
            parts += [DenseLayer(width + i * growth, growth) for i in range(layers)]
            width += layers * growth
            if block < 2:
                parts.append(Transition(width))
                width //= 2
        self.blocks = nn.Sequential(*parts)
        self.bn = nn.BatchNorm2d(width)
        self.linear = nn.Linear(width, 10)

    def forward(self, x: Float[Tensor, "n 3 32 32"]) -> Float[Tensor, "n 10"]:
        features: Tensor = F.relu(self.bn(self.blocks(self.conv(x)))).mean((2, 3))
        logits: Tensor = self.linear(features)
        return logits


def channel_chains(model: nn.Module) -> list[Chain]:
    """All chains of the model, with full names: what each submodule's `chains()` declares.

    Raises:
        ValueError: no submodule declares any.
    """
    chains = list(_declared(model))
    if not chains:
        raise ValueError(f"{type(model).__name__}: no module has a method chains() -> list[Chain]")
    return chains


def _declared(model: nn.Module) -> Iterator[Chain]:
    for name, module in model.named_modules():
        if callable(getattr(module, "chains", None)):
            prefix = f"{name}." if name else ""
            for chain in module.chains():
                norm = prefix + chain.norm if chain.norm else None
                yield Chain(prefix + chain.producer, norm, prefix + chain.consumer)


class ResidualLayers(nn.Module):
    """relu(x + W₂ relu(W₁ x + b₁) + b₂)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


def mlp(width: int = 1000) -> nn.Module:
    """Three linear layers on the pixels of MNIST."""
    hidden = (nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(width, 10))


def residual_mlp(width: int = 1000) -> nn.Module:
    """Two residual blocks on the pixels of CIFAR-10."""
    blocks = (ResidualLayers(width), ResidualLayers(width))
    return nn.Sequential(
        nn.Flatten(), nn.Linear(3072, width), nn.ReLU(), *blocks, nn.Linear(width, 10)
    )

"""The reference networks, and where their inner channels pass from layer to layer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.subjects.data import (
    CACHE,
    Labelled,
    cifar10,
    data_root,
    flipped_and_cropped,
    mnist,
    write_tensors,
)

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Chain:
    """Channels that `producer` writes, `norm` (if any) scales and only `consumer` reads (names)."""

    producer: str
    norm: str | None
    consumer: str


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a parameter-free shortcut that pads channels with zeros (option A).

    Source: He et al. 2015 (1512.03385), section 4.2.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.pad = (outputs - inputs) // 2
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.pad:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(out + x)

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
        return self.linear(x.mean((2, 3)))


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(inputs, outputs, stride), *rest)


class LeNet5(nn.Module):
    """Caffe's LeNet, 20-50-500-10, 431,080 parameters: max pooling, one ReLU after `fc1`.

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
        return self.fc2(F.relu(self.fc1(x.flatten(1))))

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
        return self.linear(F.relu(self.bn(self.blocks(self.conv(x)))).mean((2, 3)))


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
    """SGD, Nesterov momentum 0.9, weight decay 5e-4, step size falling from `rate` by a cosine."""

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
    """The network in eval mode; trained if the cache does not hold it."""
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


def channels_last(images: Tensor) -> Tensor:
    """Images in the layout that convolutions are fastest in on CPUs; other tensors as they are."""
    return images.contiguous(memory_format=torch.channels_last) if images.dim() == 4 else images


@torch.inference_mode()
def accuracy(
    model: nn.Module, images: Float[Tensor, "n ..."], labels: Int64[Tensor, " n"], batch: int = 500
) -> float:
    """Fraction of `labels` that the largest logit gives; sets `model` to eval mode."""
    model.eval()
    pairs = zip(images.split(batch), labels.split(batch), strict=True)
    hits = (model(channels_last(x)).argmax(1) == y for x, y in pairs)
    return sum(int(hit.sum()) for hit in hits) / len(images)

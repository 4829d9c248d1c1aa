"""The two reference networks, and where their inner channels pass from layer to layer."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.data import CACHE, data_root, mnist, write_tensors


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
    path = Path(cache) / f"lenet5-mnist-seed{seed}.safetensors"
    if not path.exists():
        model = _train(mnist(root, "train"), seed, epochs=8)
        write_tensors(model.state_dict(), path)
    model = LeNet5()
    model.load_state_dict(load_file(path))
    return model.eval()


def _train(data: tuple[Tensor, Tensor], seed: int, epochs: int, batch: int = 64) -> LeNet5:
    """SGD, Nesterov momentum 0.9, weight decay 5e-4, step size falling from 0.02 by a cosine."""
    images, labels = data
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LeNet5()
        optimizer = torch.optim.SGD(
            model.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=5e-4
        )
        steps = epochs * -(-len(images) // batch)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(epochs):
            for rows in torch.randperm(len(images)).split(batch):
                optimizer.zero_grad()
                F.cross_entropy(model(images[rows]), labels[rows]).backward()
                optimizer.step()
                schedule.step()
    return model


@torch.inference_mode()
def accuracy(
    model: nn.Module, images: Float[Tensor, "n ..."], labels: Int64[Tensor, " n"], batch: int = 500
) -> float:
    """Fraction of `labels` that the largest logit gives; sets `model` to eval mode."""
    model.eval()
    layout = torch.channels_last if images.dim() == 4 else torch.contiguous_format  # faster on CPUs
    pairs = zip(images.split(batch), labels.split(batch), strict=True)
    hits = (model(x.contiguous(memory_format=layout)).argmax(1) == y for x, y in pairs)
    return sum(int(hit.sum()) for hit in hits) / len(images)

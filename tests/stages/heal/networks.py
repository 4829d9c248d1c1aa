"""Small teachers, and what is left of them."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import eckart


class Residual(nn.Module):
    """A stem, one block with a shortcut, pooling, a head; every convolution is normalised."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        out = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return self.head(F.relu(out + x).mean((2, 3)))


class Branching(Residual):
    """The same with a branch that no symbolic trace can follow."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if float(x.sum()) < 1e9 else super().forward(-x)


def settled(network: nn.Module, data: Tensor) -> nn.Module:
    """The network with the statistics of the data in its norms, and scales of their own."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    network.train()
    with torch.no_grad():
        for _ in range(40):
            network(data)
    return network.eval()


def images(n: int = 96) -> Tensor:
    """Smooth random images: their patches are far from white."""
    return F.avg_pool2d(torch.randn(n, 2, 12, 12), 5, 1)


def compressed(network: nn.Module, data: Tensor, keep: float = 0.5) -> eckart.Compressed:
    return eckart.compress(network, [data], keep=keep, progress=False)


def disturbed(network: nn.Module, size: float = 0.3) -> nn.Module:
    """A copy whose weights are changed at random."""
    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in other.parameters():
            if parameter.dim() > 1:
                parameter.add_(size * parameter.std() * torch.randn_like(parameter))
    return other

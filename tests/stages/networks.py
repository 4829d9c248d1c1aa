"""Small networks that each have one peculiarity, and the probe that remembers its draws."""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eckart import Logits


class Recorded:
    """The logit metric, with the random state of every batch kept for a reference to replay."""

    def __init__(self) -> None:
        self.states: list[Tensor] = []

    def __call__(self, outputs: Any, batch: Any, generator: torch.Generator) -> Tensor:
        self.states.append(generator.get_state())
        return Logits()(outputs, batch, generator)

    def replayed(self, index: int, shape: torch.Size) -> Tensor:
        """The Gaussian numbers that batch ``index`` was probed with."""
        generator = torch.Generator()
        generator.set_state(self.states[index])
        return torch.randn(shape, generator=generator)


class SmallCnn(nn.Module):
    """Two convolutions, one of them strided and dilated, and two matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2, padding=2, dilation=2, bias=False)
        self.fc1 = nn.Linear(8, 7)
        self.fc2 = nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        return self.fc2(torch.tanh(self.fc1(x.mean((2, 3)))))


class Attention(nn.Module):
    """Query, key and value read one tensor; with ``apart`` set, the key reads another."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, 3)
        self.apart = False

    def forward(self, x: Tensor) -> Tensor:
        keys = self.k(x + 1 if self.apart else x)
        weights = (self.q(x) @ keys.mT).softmax(-1)
        return self.out(weights @ self.v(x)).mean(1)


class Peeking(nn.Module):
    """Two layers whose parameters it takes in eval mode, so they cannot be replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        hidden = x
        for layer in (self.linear1, self.linear2):
            weight = hidden if self.training else layer.get_parameter("weight")
            hidden = layer(hidden.to(weight.dtype)).relu()
        return x + hidden


def mlp(*widths: int) -> nn.Sequential:
    """Matrices with a ReLU between them; layers are named "0", "2", …"""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Scaled(nn.Module):
    """A network of one or two inputs, one of which scales the other."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        return self.fc(x if scale is None else x * scale)

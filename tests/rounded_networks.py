"""A residual network with norms, and every layer of it in weights and activations of 8 bits."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

import eckart
from eckart.records import Choice, Curves, Plan
from eckart.stages.allocate import unchanged

WIDTH = 8


class Residual(nn.Module):
    """Two residual blocks; the second halves the map, and its shortcut pads channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = _convolution(3, WIDTH)
        self.first, self.first_norm = _convolution(WIDTH, WIDTH)
        self.second, self.second_norm = _convolution(WIDTH, WIDTH)
        self.down, self.down_norm = _convolution(WIDTH, 2 * WIDTH, 2)
        self.last, self.last_norm = _convolution(2 * WIDTH, 2 * WIDTH)
        self.head = nn.Linear(2 * WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem_norm(self.stem(x)))
        y = torch.relu(self.first_norm(self.first(x)))
        x = torch.relu(self.second_norm(self.second(y)) + x)
        y = torch.relu(self.down_norm(self.down(x)))
        short = pad(x[:, :, ::2, ::2], (0, 0, 0, 0, WIDTH // 2, WIDTH // 2))
        x = torch.relu(self.last_norm(self.last(y)) + short)
        out: Tensor = self.head(x.mean((2, 3)))
        return out


def _convolution(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)


def settled_residual() -> Residual:
    """With norms that shift, scale and turn signs, in eval mode."""
    torch.manual_seed(0)
    network = Residual()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -1.5, 1.5)
            nn.init.normal_(module.bias)
    for _ in range(20):
        network(images(64))
    return network.eval()


def images(count: int) -> Tensor:
    return torch.randn(count, 3, 10, 10)


def everywhere(curves: Curves) -> Plan:
    """The plan that gives 8 bits to every layer that can have them, at full width."""
    plan, specs = unchanged(curves, "is not able"), curves.specs
    choices = {
        curve.site.name: Choice(option.method, option.form, option.loss)
        for curve in curves.curves
        for option in curve.options
        if option.form.activations and option.form.uncoded == specs[curve.site.name].dense
    }
    dense = {name: why for name, why in plan.dense.items() if name not in choices}
    return replace(plan, choices=choices, dense=dense)


def in_eight_bits(network: nn.Module, moments: eckart.Moments) -> nn.Module:
    """The network with every layer in 8 bits."""
    options = eckart.curves(network, moments, activations=8, limits="ms", progress=False)
    return eckart.apply(network, everywhere(options), moments)

"""LeNet-5, and one of its layers reconstructed from a few of the units that it reads."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eckart.linalg import (
    GroupLassoResult,
    Reader,
    alpha_max,
    backward_elimination,
    debias,
    group_lasso,
    group_lasso_path,
)
from study_kit.images import Images

WRITERS = {"conv2": "conv1", "fc1": "conv2", "fc2": "fc1"}
"""For each layer, the layer that computes the units that it reads."""


class LeNet5(nn.Module):
    """The notebook's LeNet: Caffe's, with a ReLU after each pooled convolution and after `fc1`."""

    def __init__(self, conv1: int = 20, conv2: int = 50, fc1: int = 500) -> None:
        super().__init__()
        self.widths = {"conv1": conv1, "conv2": conv2, "fc1": fc1}
        self.conv1, self.conv2 = nn.Conv2d(1, conv1, 5), nn.Conv2d(conv1, conv2, 5)
        self.fc1, self.fc2 = nn.Linear(16 * conv2, fc1), nn.Linear(fc1, 10)
        self.to(memory_format=torch.channels_last)  # as the images: half the time

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        return self.fc2(F.relu(self.fc1(x.flatten(1))))

    def shares(self) -> list[float]:
        """The share of each layer in all weights and biases."""
        sizes = [sum(p.numel() for p in layer.parameters()) for layer in self.children()]
        return [size / sum(sizes) for size in sizes]


@torch.no_grad()
def second_moment(network: LeNet5, layer: str, images: Images) -> Tensor:
    """Mean of [x; 1] [x; 1]ᵀ over what a layer reads: inputs, or patches of a convolution."""
    reader, total, count = getattr(network, layer), 0.0, 0
    for inputs, _ in images:
        seen: list[Tensor] = []
        handle = reader.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
        network(inputs)
        handle.remove()
        (x,) = seen
        if isinstance(reader, nn.Conv2d):
            x = F.unfold(x, reader.kernel_size).mT.flatten(0, 1)
        x = F.pad(x, (0, 1), value=1.0)
        total, count = total + (x.mT @ x).double(), count + len(x)
    return total / count


def collapsed(network: LeNet5, layer: str, matrix: Tensor, kept: Sequence[int]) -> LeNet5:
    """The network with a new matrix that reads only these units, and without the others.

    A column beyond those of the layer's inputs is its new bias. With no unit left, the network
    answers by its bias alone.
    """
    writer, reader = WRITERS[layer], getattr(network, layer)
    with warnings.catch_warnings():  # of weights without elements
        warnings.simplefilter("ignore", UserWarning)
        small = LeNet5(**{**network.widths, writer: len(kept)})
    state, width = network.state_dict(), reader.weight[0].numel()
    blocks = matrix[:, :width].unflatten(1, (network.widths[writer], -1))[:, kept]
    state[f"{layer}.weight"] = blocks.reshape(getattr(small, layer).weight.shape)
    if matrix.shape[1] > width:
        state[f"{layer}.bias"] = matrix[:, width]
    for name in (f"{writer}.weight", f"{writer}.bias"):
        state[name] = state[name][kept]
    small.load_state_dict(state)
    return small.eval()


def with_matrix(network: LeNet5, layer: str, matrix: Tensor, kept: Sequence[int]) -> LeNet5:
    """The network with a new matrix, zero except for these units; all units are still computed."""
    return collapsed(network, layer, matrix, list(range(network.widths[WRITERS[layer]])))


class Site:
    """A layer to reconstruct from a few units: ``R = (x/d)(xᵀ/n)`` of its inputs, ``B = W R``.

    d is the number of columns, so it counts the bias where that is one of them.
    """

    def __init__(self, network: LeNet5, layer: str, moment: Tensor, bias: bool = False) -> None:
        """From `second_moment`; `bias` appends an input of one whose column is not penalised."""
        self.layer, self.bias, reader = layer, bias, getattr(network, layer)
        weight = reader.weight.detach().double().flatten(1)
        self.units, width = network.widths[WRITERS[layer]], weight.shape[1]
        columns = width + bias
        self.gram = moment[:columns, :columns] / columns
        self.weight = torch.cat([weight, reader.bias.detach().double()[:, None]], 1)[:, :columns]
        self.cross = self.weight @ self.gram
        self.groups = torch.arange(width).reshape(self.units, -1).tolist()
        self.grouping = {"groups": self.groups, "unpenalised": list(range(width, columns))}

    def lasso(self, fractions: Sequence[float]) -> tuple[GroupLassoResult, ...]:
        """The solution for each fraction of the units."""
        sizes = [max(1, round(fraction * self.units)) for fraction in fractions]
        return group_lasso_path(self.gram, self.cross, sizes=sizes, **self.grouping).results

    def penalised(self, alpha: float) -> GroupLassoResult:
        """The solution at a given λ."""
        return group_lasso(self.gram, self.cross, alpha, **self.grouping)

    @property
    def largest(self) -> float:
        """The least λ at which no unit is left."""
        return alpha_max(self.gram, self.cross, **self.grouping)

    def refit(self, solution: Tensor) -> Tensor:
        """Least squares on the remaining units: debiasing."""
        return debias(self.gram, self.cross, solution, **self.grouping)[0]

    def eliminated(self, size: int) -> tuple[Tensor, list[int]]:
        """The refitted matrix and `size` units, by elimination on the same quadratic form."""
        damping = 1e-8 * self.gram.diagonal().mean()
        damped = self.gram + damping * torch.eye(len(self.gram), dtype=self.gram.dtype)
        units = tuple(torch.tensor(group) for group in self.groups)
        order = backward_elimination([Reader(damped, self.weight.mT @ self.weight, units)])
        start = self.weight.clone()
        start[:, [column for unit in order[size:] for column in self.groups[unit]]] = 0.0
        return self.refit(start), sorted(order[:size])

    def mass(self, matrix: Tensor) -> Tensor:
        """The norm of each unit's columns, largest first."""
        return torch.stack([matrix[:, group].norm() for group in self.groups]).sort().values.flip(0)

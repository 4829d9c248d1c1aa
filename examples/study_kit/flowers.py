"""Iris, the notebook's 4-10-3 network for it, and the matrices that the notebook prints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import torch
import torch.nn.functional as F
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

import eckart
from study_kit.study import Row

Labelled = tuple[Tensor, Tensor]
# fmt: off
ORIGINAL = torch.tensor([
    [-0.041648, -0.46252, 1.7128, 1.5548], [-0.040338, -0.17054, 0.70191, 0.62048],
    [0.11626, -0.66152, 0.97242, 1.0223], [0.16039, 0.23432, -1.0579, -0.87162],
    [0.27400, 0.20377, -1.2229, -0.97948], [-0.073428, 0.049181, -0.17385, -0.17795],
    [-0.28788, 0.62951, -1.1089, -1.1594], [0.12932, -0.19027, 0.15801, 0.19960],
    [-0.022499, -0.11339, 0.45061, 0.40080], [0.00027131, -0.00075118, 0.0015493, 0.0016636],
])
"""What the notebook prints as the original weights of the first layer."""
AT_RANK_TWO = torch.tensor([
    [-0.085978, -0.51320, 1.7142, 1.5338], [-0.055634, -0.18698, 0.70093, 0.61522],
    [0.20243, -0.57831, 0.99132, 1.0339], [0.14468, 0.21212, -1.0514, -0.88720],
])
"""Its first rows at rank 2."""
RETRAINED = torch.tensor([
    [-0.08, -0.51, 1.73, 1.55], [-0.05, -0.19, 0.71, 0.62], [0.18, -0.61, 0.99, 1.03],
    [0.15, 0.21, -1.06, -0.89], [0.24, 0.17, -1.24, -1.00], [-0.03, 0.09, -0.17, -0.17],
    [-0.26, 0.68, -1.11, -1.17], [0.12, -0.20, 0.15, 0.21], [-0.03, -0.12, 0.46, 0.40],
    [0.00, 0.00, 0.00, 0.00],
])
"""The same after 1,000 steps from rank 2, to two decimals."""
# fmt: on
PRINTED = {
    "once": "original weights, if trained once as its text says",
    "original": "original weights, as its cells must have run",
    "two": "its rank 2",
    "again": "trained again",
}
"""What `as_printed` compares."""


@dataclass(frozen=True)
class Data:
    """Training and test flowers with their labels."""

    train: Labelled
    test: Labelled


def iris() -> Data:
    """120 and 30 flowers; mean and deviation are those of the training set."""
    inputs, targets = load_iris(return_X_y=True)
    split = train_test_split(inputs, targets, test_size=0.2, random_state=42)
    scaler = StandardScaler().fit(split[0])
    train, test = (torch.from_numpy(scaler.transform(part)).float() for part in split[:2])
    labels = [torch.from_numpy(part).long() for part in split[2:]]
    return Data((train, labels[0]), (test, labels[1]))


def network() -> nn.Sequential:
    """4-10-3 with biases, one ReLU, and PyTorch's initialisation: 83 parameters."""
    return nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 3))


def core_network(rank: int = 1) -> nn.Sequential:
    """U · core · V with biases between, in place of the first layer: 60 parameters at rank 1."""
    parts = nn.Linear(4, rank), nn.Linear(rank, rank), nn.Linear(rank, 10)
    return nn.Sequential(nn.Sequential(*parts), nn.ReLU(), nn.Linear(10, 3))


def trained(model: nn.Module, data: Data, steps: int) -> nn.Module:
    """Gradient descent with step size 0.1 on all training flowers at once, in place."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(data.train[0]), data.train[1]).backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def cut_in_place(model: nn.Sequential, rank: int) -> None:
    """The first layer at a rank, but stored as one matrix, as the notebook has it."""
    U, S, Vh = torch.linalg.svd(model[0].weight, full_matrices=False)
    model[0].weight.copy_(U[:, :rank] * S[:rank] @ Vh[:rank])


def dense(data: Data, seed: int, steps: int) -> nn.Sequential:
    """The trained network of a seed."""
    torch.manual_seed(seed)
    return trained(network(), data, steps)


def product_of(model: nn.Module) -> Tensor:
    """The matrix by which the first layer multiplies; of one that is narrower, its rows."""
    layer = eckart.merge(model)[0]
    parts = [layer] if isinstance(layer, nn.Linear) else list(layer)
    matrix = parts[0].weight.detach()
    for part in parts[1:]:
        matrix = part.weight.detach() @ matrix
    return matrix


def as_printed(data: Data, seed: int, steps: int) -> Iterator[Row]:
    """The printed matrices, in the order in which the notebook's cells must have run.

    Its "original weights" come from a network that had been cut to rank 1 and trained for 5,000
    steps more. Its U·core·V is that of no training: no cell shows one, and its entries are small.
    """
    model = dense(data, seed, steps)
    first = model[0].weight

    def row(what: str, printed: Tensor) -> Row:
        apart = float((first[: len(printed)].detach() - printed).abs().max())
        values = torch.linalg.svdvals(first.detach()).tolist()
        return {"what": what, "difference": apart, "values": values, "matrix": first.tolist()}

    yield row("once", ORIGINAL)
    cut_in_place(model, 1)
    trained(model, data, 5 * steps)
    yield row("original", ORIGINAL)
    cut_in_place(model, 2)
    yield row("two", AT_RANK_TWO)
    trained(model, data, steps)
    yield row("again", RETRAINED)
    largest = [float(product_of(core_network()).abs().max()) for _ in range(1000)]
    learned = product_of(trained(core_network(), data, steps))
    yield {"what": "core", "middle": median(largest), "learned": float(learned.abs().max())}

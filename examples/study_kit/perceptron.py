"""The notebook's three networks for MNIST, 784-1000-1000-10, and how they are trained."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eckart.linalg import numerical_rank, randomized_svd
from study_kit.images import Images
from study_kit.study import Row

RATE, BATCH = 0.25, 90
SVD, SAMPLED = "SVD at the start", "randomised SVD at the start"
NOTEBOOK = {  # loss of a batch and test accuracy, every 500 iterations
    "dense": [(0.00202, 98.37), (0.00026, 98.40), (0.00020, 98.41), (0.00080, 98.46),
              (0.00142, 98.45), (0.00057, 98.41), (0.00015, 98.34), (0.00043, 98.41),
              (0.00066, 98.44)],
    SVD: [(0.17119, 94.77), (0.05778, 96.78), (0.04633, 97.49), (0.06887, 97.39),
          (0.04349, 97.82), (0.03268, 97.76), (0.00937, 97.88), (0.04232, 98.19),
          (0.01060, 97.99)],
    SAMPLED: [(0.13663, 95.15), (0.17118, 96.94), (0.10826, 97.60), (0.13464, 97.69),
              (0.03269, 97.61), (0.04211, 97.88), (0.01729, 98.15), (0.03452, 97.98),
              (0.01722, 98.11)],
}  # fmt: skip


class Dense(nn.Module):
    """Three linear layers as PyTorch initialises them, with biases and two ReLUs."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(784, width)
        self.hidden = nn.Linear(width, width)
        self.last = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.hidden(self.first(x.flatten(1)).relu()).relu())


class Multiplied(nn.Module):
    """The notebook's smaller networks: the hidden matrix starts at a low rank, as one full matrix.

    It has no bias, and all of its entries are trained. The drawn matrix that it was made from stays
    among the parameters, though nothing reads it.
    """

    def __init__(self, width: int, rank: int, seed: int | None = None) -> None:
        """By SVD, or with a seed by a randomised SVD."""
        super().__init__()
        self.first = nn.Linear(784, width)
        self.drawn = nn.Parameter(nn.init.xavier_uniform_(torch.empty(width, width)))
        product = by_svd(self.drawn, rank) if seed is None else by_sampling(self.drawn, rank, seed)
        self.hidden = nn.Parameter(product)
        self.last = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.last((self.first(x.flatten(1)).relu() @ self.hidden).relu())


@torch.no_grad()
def by_svd(matrix: Tensor, rank: int) -> Tensor:
    """U S times the first *rows* of V: the notebook takes V, as it is given, for its transpose."""
    U, S, Vh = torch.linalg.svd(matrix)
    return U[:, :rank] * S[:rank] @ Vh.mT[:rank]


@torch.no_grad()
def by_sampling(matrix: Tensor, rank: int, seed: int) -> Tensor:
    """A randomised SVD from twice as many samples as the rank, without power iterations."""
    generator = torch.Generator().manual_seed(seed)
    given = {"oversampling": rank, "power_iterations": 0, "generator": generator}
    U, S, Vh = randomized_svd(matrix, rank, **given)
    return U * S @ Vh


def at_the_start(network: Multiplied) -> Row:
    """How far the product is from the drawn matrix, the least possible distance, and its rank."""
    drawn, rank = network.drawn.detach(), rank_of(network)
    values = torch.linalg.svdvals(drawn)
    least = values[rank:].norm() / values.norm()
    distance = (drawn - network.hidden.detach()).norm() / drawn.norm()
    return {"rank": rank, "error": float(distance), "least": float(least)}


def rank_of(network: Multiplied) -> int:
    """The numerical rank of the hidden matrix."""
    hidden = network.hidden.detach()
    return numerical_rank(torch.linalg.svdvals(hidden), tuple(hidden.shape))


def train(
    networks: list[nn.Module], images: Images, epochs: int, every: int, seed: int
) -> Iterator[tuple[int, list[float]]]:
    """Plain gradient descent, side by side on the same batches.

    Yields the number of steps and each network's loss on the last batch, from time to time and at
    the end.
    """
    optimiser = torch.optim.SGD([p for n in networks for p in n.parameters()], RATE)
    generator, done = torch.Generator().manual_seed(seed), 0
    images = images.in_batches(BATCH)
    for _ in range(epochs):
        for pixels, labels in images.shuffled(generator):
            optimiser.zero_grad()
            losses = [F.cross_entropy(network(pixels), labels) for network in networks]
            for loss in losses:
                loss.backward()
            optimiser.step()
            done += 1
            if done % every == 0 or done == epochs * len(images):
                yield done, [loss.item() for loss in losses]

"""Three ways to get small factors: learn the ranks, train as factors, or cut out afterwards.

The widths and the step size are those of examples/mlp_mnist.py: 784-1000-1000-10 on MNIST, gradient
descent with step size 0.25, batch 90. Here every layer starts Xavier-uniform, each way takes 5,000
iterations, and all layers may be factored.
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

import eckart
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.subjects import data as sets
from benchmarks.subjects.data import CALIBRATION_IMAGES, Labelled
from benchmarks.subjects.scoring import BATCH as TEST_BATCH

RATE, BATCH = 0.25, 90
Scored = Callable[[nn.Module], eckart.Score]
PRICES = (2e-6, 4e-6)  # nats per parameter
FACTOR_RATES = {"svd": 0.1, "random": 0.025}  # all layers as factors diverge at 0.25
LATER_RATE = 0.05  # rate for factors cut out of a trained network
STRENGTH, GROWTH, EVERY = 1e-3, 1.45, 250  # μ ends at 1.7: below 1 when multiplied by the step size


class Network(nn.Module):
    """Three matrices, Xavier-uniform, with ReLU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(784, width)
        self.hidden = nn.Linear(width, width)
        self.last = nn.Linear(width, 10)
        for layer in (self.first, self.hidden, self.last):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Float[Tensor, "n 784"]) -> Float[Tensor, "n 10"]:
        logits: Tensor = self.last(self.hidden(self.first(x).relu()).relu())
        return logits


def trained(
    network: nn.Module,
    data: Labelled,
    iterations: int,
    learned: eckart.factors.LearnedRanks | None = None,
    rate: float = RATE,
) -> nn.Module:
    """Train the network in place, together with its ranks if they are learned."""
    optimiser = torch.optim.SGD(network.parameters(), rate)
    for done, (pixels, labels) in enumerate(_batches(data, iterations), start=1):
        optimiser.zero_grad()
        loss = F.cross_entropy(network(pixels), labels)
        if learned is not None:
            loss = loss + learned.penalty()
        loss.backward()
        optimiser.step()
        if learned is not None and done % EVERY == 0:
            learned.project()
    return network


def _batches(data: Labelled, iterations: int) -> Iterator[Labelled]:
    """Batches, the same in every call."""
    generator, left = torch.Generator().manual_seed(1), iterations
    while left > 0:
        for rows in torch.randperm(len(data[0]), generator=generator).split(BATCH)[:left]:
            yield data[0][rows], data[1][rows]
            left -= 1


def points(
    initial: Network, train: Labelled, score: Scored, iterations: int, calibration: int
) -> Iterator[Row]:
    """The dense network, then the learned ranks and rivals of that size at every price."""

    def point(way: str, network: nn.Module, **more: object) -> Row:
        found, right = eckart.measure(network, train[0][:1], latency=False), score(network)
        counts = {"params": found.params, "macs": found.macs, "images": right.n}
        return {"way": way, "accuracy": right.value, **counts, **more}

    dense = trained(copy.deepcopy(initial), train, iterations)
    yield point("dense", dense, price=None)
    moments = eckart.calibrate(dense, train[0][:calibration].split(sets.BATCH), progress=False)
    for price in PRICES:
        network = copy.deepcopy(initial)
        learned = eckart.factors.LearnedRanks(network, price, strength=STRENGTH, growth=GROWTH)
        trained(network, train, iterations, learned)
        smaller = learned.finish()
        ranks, of = learned.ranks, {"price": price, "ranks": learned.ranks}
        yield point("learned", smaller, distance=learned.distance, **of)
        size = sum(parameter.numel() for parameter in smaller.parameters())
        best = eckart.compress(dense, moments, budget=eckart.Budget(params=size)).model
        yield point("eckart.compress", best, price=price)
        for way, cut in (("learned", smaller), ("eckart.compress", best)):
            trained(cut, train, iterations, rate=LATER_RATE)
            yield point(f"{way}, trained on", cut, rate=LATER_RATE, price=price)
        yield point("svd", eckart.factorize(dense, ranks), **of)
        for init, rate in FACTOR_RATES.items():
            generator = torch.Generator().manual_seed(2)
            factors = eckart.factorize(initial, ranks, init=init, generator=generator)
            trained(factors, train, iterations, rate=rate)
            yield point(f"from the start, {init}", factors, rate=rate, **of)


def measure(
    output: Path,
    data: Path | None = None,
    seed: int = 0,
    *,
    width: int = 1000,
    iterations: int = 5000,
    calibration: int = CALIBRATION_IMAGES,
) -> None:
    """Measure all ways again."""
    torch.manual_seed(seed)
    train, test = ((x.flatten(1), y) for x, y in (sets.mnist(data, s) for s in ("train", "test")))
    score = eckart.accuracy(sets.batches(test, TEST_BATCH))
    results = Results(output)
    results.forget()
    for row in points(Network(width), train, score, iterations, calibration):
        results.add(row)


MEASUREMENT = Measurement(measure, threads=2)

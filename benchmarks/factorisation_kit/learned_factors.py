"""Three ways to small factors: ranks learned in training, trained as factors, cut out afterwards.

python -m benchmarks.factorisation_kit.learned_factors --data ../data

The network and the training are those of examples/mlp_mnist.py: 784-1000-1000-10 on MNIST, gradient
descent with step size 0.25, batch 90, 5,000 iterations, for each way. All of it may be factored.
"""

import argparse
import copy
import json
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import eckart
from benchmarks.subjects.data import mnist
from eckart.scores import Evaluate
from examples.mlp_mnist import BATCH, RATE, Network

PRICES = (2e-6, 4e-6)  # nats for a parameter
FACTOR_RATES = {"svd": 0.1, "random": 0.025}  # all layers as factors diverge at 0.25
LATER_RATE = 0.05  # of factors that begin as those of a trained network
STRENGTH, GROWTH, EVERY = 1e-3, 1.45, 250  # μ ends at 1.7: below 1 when multiplied by the step size
Labelled = tuple[Tensor, Tensor]


def trained(
    network: nn.Module,
    data: Labelled,
    iterations: int,
    learned: eckart.factors.LearnedRanks | None = None,
    rate: float = RATE,
) -> nn.Module:
    """The network itself, trained; with its ranks, if there is someone to learn them."""
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
    """The same batches in every call."""
    generator, left = torch.Generator().manual_seed(1), iterations
    while left > 0:
        for rows in torch.randperm(len(data[0]), generator=generator).split(BATCH)[:left]:
            yield data[0][rows], data[1][rows]
            left -= 1


def points(
    initial: Network, train: Labelled, score: Evaluate, iterations: int, calibration: int
) -> Iterator[dict]:
    """The dense network; then for every price the learned ranks, and their rivals of that size."""

    def point(way: str, network: nn.Module, **more: object) -> dict:
        found = eckart.measure(network, train[0][:1], evaluate=score, latency=False)
        counts = {"params": found.params, "macs": found.macs, "images": found.score.n}
        return {"way": way, "accuracy": found.score.value, **counts, **more}

    dense = trained(copy.deepcopy(initial), train, iterations)
    yield point("dense", dense, price=None)
    moments = eckart.calibrate(dense, train[0][:calibration].split(250), progress=False)
    for price in PRICES:
        network = copy.deepcopy(initial)
        learned = eckart.factors.LearnedRanks(network, price, strength=STRENGTH, growth=GROWTH)
        trained(network, train, iterations, learned)
        smaller = learned.finish()
        ranks, of = learned.ranks, {"price": price, "ranks": learned.ranks}
        yield point("learned", smaller, distance=learned.distance, **of)
        size = smaller.eckart_plan.costs["params"]
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Learned ranks against two other ways")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--iterations", type=int, default=5000)
    parser.add_argument("--calibration", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results/learned-factors.json")
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    train, test = (
        (x.flatten(1), y) for x, y in (mnist(arguments.data, s) for s in ("train", "test"))
    )
    score = eckart.accuracy(list(zip(*(part.split(500) for part in test), strict=True)))
    rows = []
    for row in points(Network(1000), train, score, arguments.iterations, arguments.calibration):
        rows.append(row)
        print(row, flush=True)
        arguments.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

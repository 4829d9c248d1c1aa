"""Study 2: how little of a 4-10-3 network Iris needs.

python examples/iris_rank.py --output docs/results

The network is the course's: standardised inputs, 80/20 split with seed 42, SGD with rate 0.1, 1,000
steps on the whole training set. Here: its first layer at rank 2, the smallest ranks that accuracy
and AUC allow, and the network U·core·V, trained in that form or taken from the trained weights.
"""

import argparse
from copy import deepcopy
from dataclasses import astuple, dataclass
from itertools import product
from pathlib import Path
from statistics import mean

import matplotlib

matplotlib.use("agg")  # no display is needed
import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

import eckart

TOLERANCE = 0.05
PAGE = """# Study 2: how little of a network Iris needs

Written by `python examples/iris_rank.py`. The course went from 83 to 60 parameters with
U·core·V and biases between the three. `factorize(core=True)` has 58: it puts no biases there.

## The smallest ranks by bisection

Less than {tolerance} worse than dense on the {train} training examples; seed {seed}.

| layer | metric | rank | gap | parameters saved | evaluations |
|---|---|---|---|---|---|"""
METRICS = {"accuracy": eckart.accuracy, "AUC": eckart.scores.auc}


@dataclass(frozen=True)
class Row:
    """One network: its name, what it costs, and how it does on the test set."""

    name: str
    params: float
    macs: float
    accuracy: float
    auc: float

    def __str__(self) -> str:
        scores = f"{self.accuracy:.4f} | {self.auc:.4f}"
        return f"| {self.name} | {self.params:.4g} | {self.macs:.4g} | {scores} |"


@dataclass(frozen=True)
class Data:
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    def row(self, name: str, model: nn.Module) -> Row:
        cost = eckart.measure(model, self.test[0][:1], latency=False)
        scores = [metric([self.test])(model).value for metric in METRICS.values()]
        return Row(name, cost.params, cost.macs, *scores)


def iris() -> Data:
    """120 and 30 flowers; mean and deviation are those of the training set."""
    inputs, targets = load_iris(return_X_y=True)
    split = train_test_split(inputs, targets, test_size=0.2, random_state=42)
    scaler = StandardScaler().fit(split[0])
    train, test = (torch.from_numpy(scaler.transform(part)).float() for part in split[:2])
    labels = [torch.from_numpy(part).long() for part in split[2:]]
    return Data((train, labels[0]), (test, labels[1]))


def trained(model: nn.Module, data: Data, steps: int) -> nn.Module:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(data.train[0]), data.train[1]).backward()
        optimizer.step()
    return model.eval()


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 3))


def at_rank_two(model: nn.Module) -> tuple[nn.Module, list[Tensor]]:
    """The network with its first layer as two, and both matrices, U √S last."""
    smaller = eckart.factorize(model, {"0": 2})
    return smaller, [matrix for matrix in smaller[0].parameters() if matrix.ndim == 2]


def core_network(rank: int = 1) -> nn.Sequential:
    """The course's network, untrained: U · core · V with biases in place of the first layer."""
    parts = nn.Linear(4, rank), nn.Linear(rank, rank), nn.Linear(rank, 10)
    return nn.Sequential(nn.Sequential(*parts), nn.ReLU(), nn.Linear(10, 3))


def study(data: Data, seed: int, steps: int) -> tuple[list[Row], list[str], dict[str, nn.Module]]:
    """All networks of one seed, the rank searches, and the networks whose weights are compared."""
    torch.manual_seed(seed)
    model = trained(network(), data, steps)
    rows = [data.row("dense", model), data.row("first layer at rank 2", at_rank_two(model)[0])]
    lines = []
    for layer, (metric, evaluate) in product(("0", "2"), METRICS.items()):
        found = eckart.find_rank(model, layer, evaluate([data.train]), tolerance=TOLERANCE)
        search, rank = found.search, "dense" if found.rank is None else found.rank
        saved = f"{search.saved_params} of {search.dense_params}"
        cells = (layer, metric, rank, f"{search.gap:.4f}", saved, search.evaluations)
        lines.append(f"| {' | '.join(map(str, cells))} |")
        rows.append(data.row(f"layer {layer}, rank by {metric}", found.model))
    cut = eckart.factorize(model, {"0": 1}, core=True)
    anew = eckart.factorize(network(), {"0": 1}, core=True)
    budget = eckart.Budget(params=60)
    best = eckart.compress(model, [data.train], budget=budget, progress=False)
    tuned, learned = trained(deepcopy(cut), data, min(100, steps)), trained(anew, data, steps)
    biased = trained(core_network(), data, steps)
    rows += [
        data.row("U·core·V, rank 1, from the weights", cut),
        data.row("… and 100 more steps", tuned),
        data.row("U·core·V, rank 1, learned", learned),
        data.row("… with biases between, as the course has it", biased),
        data.row("eckart, both layers, as many parameters", best.model),
    ]
    return rows, lines, {"dense": model, "cut": cut, "100 more steps": tuned, "learned": learned}


def distances(networks: dict[str, nn.Module]) -> list[str]:
    """How far each U·core·V is from the dense layer's weight, as a fraction of its norm."""
    weights = {name: eckart.merge(net)[0].weight.detach() for name, net in networks.items()}
    dense = weights.pop("dense")
    return [f"| {k} | {(v - dense).norm() / dense.norm():.3f} |" for k, v in weights.items()]


def matrix(name: str, values: Tensor) -> str:
    lines = (" ".join(f"{v:7.3f}" for v in row) for row in values.tolist())
    return f"{name}, {values.shape[0]}×{values.shape[1]}:\n\n```\n" + "\n".join(lines) + "\n```\n"


def averaged(runs: list[list[Row]]) -> list[Row]:
    """Means over the seeds, row by row."""
    means = []
    for rows in zip(*runs, strict=True):
        (name, *_), *numbers = zip(*map(astuple, rows), strict=True)
        means.append(Row(name, *map(mean, numbers)))
    return means


def figure(rows: list[Row], path: Path) -> None:
    """Draw both scores against parameters."""
    axes = plt.subplots(1, 2, figsize=(9, 4), sharex=True, layout="constrained")[1]
    for axis, name in zip(axes, METRICS, strict=True):
        for row in rows:
            axis.plot(row.params, getattr(row, name.lower()), "o", label=row.name)
        axis.set(xlabel="parameters, mean", ylabel=f"test {name}, mean")
        axis.grid(alpha=0.3)
    axes[1].legend(fontsize=7)
    plt.savefig(path, dpi=120, metadata={"Software": None})
    plt.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed and 50 steps")
    parser.add_argument("--seed", type=int, default=0, help="the first of ten")
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    arguments = parser.parse_args()
    seeds = range(arguments.seed, arguments.seed + (1 if arguments.quick else 10))
    data, steps = iris(), 50 if arguments.quick else 1000
    runs = [study(data, seed, steps) for seed in seeds]
    rows, (_, lines, networks) = averaged([run[0] for run in runs]), runs[0]
    right, left = at_rank_two(networks["dense"])[1]
    seeded = f"Means of {len(runs)} trainings, {steps} steps; {len(data.test[1])} test examples.\n"
    page = [
        PAGE.format(tolerance=TOLERANCE, train=len(data.train[1]), seed=arguments.seed),
        *lines,
        f"\n## What each network costs and gives\n\n{seeded}",
        "| network | parameters | MACs | accuracy | AUC |\n|---|---|---|---|---|",
        *map(str, rows),
        "\n![scores against parameters](iris-rank.png)\n",
        "## U·core·V against the original weight\n\n| | ‖W − U·core·V‖ / ‖W‖ |\n|---|---|",
        *distances(networks),
        f"\n## The first layer at rank 2\n\n{matrix('U √S', left)}\n{matrix('√S Vᵀ', right)}",
    ]
    arguments.output.mkdir(parents=True, exist_ok=True)
    figure(rows, arguments.output / "iris-rank.png")
    (arguments.output / "iris-rank.md").write_text("\n".join(page), encoding="utf-8")
    print("\n".join(page))


if __name__ == "__main__":
    main()

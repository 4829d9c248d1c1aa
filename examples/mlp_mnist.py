"""Study 1: a fully connected network on MNIST, 784-1000-1000-10, its hidden matrix at low rank.

python examples/mlp_mnist.py --data ../data/mnist

As in the course, plain gradient descent (step size 0.25, batch 90, 5,000 iterations) trains a dense
network and two at rank 500, by SVD and by randomised SVD of the initial hidden matrix, side by side
on the same batches. The course got 98.44, 97.99 and 98.11 %. Its loss of 0.002 at iteration 500
shows that its dense network had already been trained, so all networks here train for one run and
two. The study adds smaller ranks, trained as factors or cut out later, and `eckart.compress`.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

import eckart
from eckart.linalg import randomized_svd

RATE, BATCH = 0.25, 90
Labelled = tuple[Tensor, Tensor]
START, END = "<!-- mlp-mnist -->", "<!-- end mlp-mnist -->"


@dataclass(frozen=True)
class Setting:
    """How large the network is, and how long it is trained."""

    width: int = 1000
    iterations: int = 5000
    every: int = 500
    calibration: int = 2000

    @property
    def ranks(self) -> list[int]:
        """From half of the width to a hundredth."""
        return [round(share * self.width) for share in (0.5, 0.1, 0.05, 0.02, 0.01)]


def images(data: str, split: str) -> Labelled:
    """Pixels in [0, 1] as rows, and labels."""
    rows = datasets.load_dataset(data, split=split)
    pixels = np.stack([np.asarray(image, np.uint8) for image in rows["image"]])
    return torch.from_numpy(pixels).flatten(1).float() / 255, torch.tensor(rows["label"])


class Network(nn.Module):
    """Three matrices, Xavier-uniform, with ReLU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(784, width)
        self.hidden = nn.Linear(width, width)
        self.last = nn.Linear(width, 10)
        for layer in self.children():
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.hidden(self.first(x).relu()).relu())


class Remultiplied(nn.Module):
    """The course's layer: two factors, multiplied to a full matrix in every forward pass."""

    def __init__(self, factored: nn.Sequential) -> None:
        super().__init__()
        self.right, self.left = (layer.weight for layer in factored)
        self.bias = factored[-1].bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.left @ self.right, self.bias)


def randomised(network: Network, rank: int, seed: int) -> nn.Module:
    """The network with the hidden matrix as factors of a randomised SVD, one power iteration."""
    smaller = eckart.factorize(network, {"hidden": rank})
    generator = torch.Generator().manual_seed(seed)
    U, S, Vh = randomized_svd(network.hidden.weight, rank, power_iterations=1, generator=generator)
    with torch.no_grad():
        smaller.hidden[0].weight.copy_(S.sqrt()[:, None] * Vh)
        smaller.hidden[1].weight.copy_(U * S.sqrt())
    return smaller


def trained(networks: list[nn.Module], data: Labelled, to: Setting, seed: int) -> Iterator[int]:
    """Train all networks side by side on the same batches; yield from time to time."""
    pixels, labels = data
    optimiser = torch.optim.SGD([p for n in networks for p in n.parameters()], RATE)
    generator, done = torch.Generator().manual_seed(seed), 0
    while done < to.iterations:
        order = torch.randperm(len(pixels), generator=generator)
        for rows in order.split(BATCH)[: to.iterations - done]:
            optimiser.zero_grad()
            for network in networks:
                F.cross_entropy(network(pixels[rows]), labels[rows]).backward()
            optimiser.step()
            done += 1
            if done % to.every == 0:
                yield done


def cut(dense: Network, pixels: Tensor, ranks: list[int]) -> Iterator[tuple[str, int, nn.Module]]:
    """Networks cut out of a trained one, with their kind and the rank of the hidden matrix."""
    moments = eckart.calibrate(dense, pixels.split(250))
    for rank in ranks:
        yield "SVD after training", rank, eckart.factorize(dense, {"hidden": rank})
    sizes = {}
    for rank in ranks:
        smaller = eckart.factorize(dense, {"hidden": rank}, init="weighted", moments=moments)
        sizes[rank] = smaller.eckart_plan.costs["params"]
        yield "weighted by A and G after training", rank, smaller
    options = eckart.curves(dense, moments)
    for rank, size in list(sizes.items())[1:]:  # at half rank, factors are as large as the matrix
        plan = eckart.allocate(options, eckart.Budget(params=size))
        yield "whole network, as eckart.compress", rank, eckart.apply(dense, plan, moments)
    stored = eckart.factorize(dense, {"hidden": ranks[0]})
    stored.hidden = Remultiplied(stored.hidden)
    yield "factors multiplied out in every pass (the course)", ranks[0], stored


def study(train: Labelled, test: Labelled, setting: Setting, seed: int) -> dict[str, list[dict]]:
    """Measurements of every network after each run, and accuracies during training."""
    torch.manual_seed(seed)
    dense, half = Network(setting.width), setting.ranks[0]
    networks = {("dense", None): dense}
    networks["randomised SVD, trained", half] = randomised(dense, half, seed)
    for rank in setting.ranks:
        networks["SVD, trained", rank] = eckart.factorize(dense, {"hidden": rank})
    score = eckart.accuracy(list(zip(*(part.split(500) for part in test), strict=True)))
    rows, history = [], []
    for run in (1, 2):
        for done in trained(list(networks.values()), train, setting, seed + run):
            scores = [score(network).value for network in networks.values()]
            history.append({"run": run, "iteration": done, "accuracies": scores})
            print(f"run {run}, iteration {done}", flush=True)
        smaller = cut(dense, train[0][: setting.calibration], setting.ranks)
        for kind, rank, network in [*((*key, n) for key, n in networks.items()), *smaller]:
            found = eckart.measure(network, test[0][:1], evaluate=score, latency=False)
            hidden = sum(p.numel() for n, p in network.named_parameters() if "hidden" in n)
            sizes = {"hidden": hidden, "params": found.params, "macs": found.macs}
            score_of = {"accuracy": found.score.value, "images": found.score.n}
            rows.append({"kind": kind, "rank": rank, "run": run, **sizes, **score_of})
    return {"rows": rows, "history": history}


def table(rows: Sequence[dict]) -> str:
    """A table of the parameters, the MACs and the accuracy after each run."""
    lines = ["| hidden matrix | rank | its parameters | all parameters | MACs | 1 run | 2 runs |"]
    lines.append("|---" * 7 + "|")
    once, twice = ([row for row in rows if row["run"] == run] for run in (1, 2))
    for a, b in zip(once, twice, strict=True):
        sizes = " | ".join(f"{a[key]:,}" for key in ("hidden", "params", "macs"))
        scores = " | ".join(f"{100 * row['accuracy']:.2f}" for row in (a, b))
        lines.append(f"| {a['kind']} | {a['rank'] or ''} | {sizes} | {scores} |")
    return "\n".join(lines)


def figure(rows: Sequence[dict], path: Path) -> None:
    """Draw the accuracy after two runs against all parameters."""
    axes = (drawing := Figure(figsize=(7, 4.5))).subplots()
    last = [row for row in rows if row["run"] == 2 and "course" not in row["kind"]]
    dense = 100 * last.pop(0)["accuracy"]
    axes.axhline(dense, color="grey", linestyle="--", label="dense")
    for kind in dict.fromkeys(row["kind"] for row in last):
        of_kind = sorted((r["params"], 100 * r["accuracy"]) for r in last if r["kind"] == kind)
        axes.plot(*zip(*of_kind, strict=True), marker="o", label=kind)
    axes.set(xlabel="parameters of the whole network", ylabel="test accuracy after two runs, %")
    axes.legend(fontsize=8)
    drawing.savefig(path, dpi=120, bbox_inches="tight")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The hidden matrix of an MLP on MNIST, low rank")
    parser.add_argument("--data", default="ylecun/mnist", help="id on the hub, or a local folder")
    parser.add_argument("--quick", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    given = parser.parse_args(arguments)
    train, test = (images(given.data, split) for split in ("train", "test"))
    setting = Setting(width=100, iterations=40, every=20) if given.quick else Setting()
    report = study(train, test, setting, given.seed)
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "mlp-mnist.json").write_text(json.dumps(report, indent=1) + "\n")
    figure(report["rows"], given.output / "mlp-mnist.png")
    page = given.output / "mlp-mnist.md"
    before, _, rest = (page.read_text() if page.exists() else START + END).partition(START)
    page.write_text(f"{before}{START}\n{table(report['rows'])}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()

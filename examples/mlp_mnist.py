"""Study 1: a fully connected network on MNIST, 784-1000-1000-10, its hidden matrix at low rank.

python examples/mlp_mnist.py --data ../data/mnist

As the course did it: plain gradient descent (step size 0.25, batch 90, 5,000 iterations), dense and
at rank 500 by SVD and by randomised SVD of the initial hidden matrix, side by side on the same
batches. The course got 98.44, 97.99 and 98.11 %. Its loss of 0.002 at iteration 500 says that its
dense network had been trained before, so every network here is trained for one run and for two.
Beyond the course: smaller ranks, trained as factors or cut out of the trained network, and the
whole network compressed to as many parameters.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import eckart

RATE, BATCH = 0.25, 90
SHARES = (0.5, 0.1, 0.05, 0.02, 0.01)  # ranks, of the width
START = "<!-- mlp-mnist -->"
END = "<!-- end mlp-mnist -->"


@dataclass(frozen=True)
class Setting:
    """How large the network is, and how long it is trained."""

    width: int = 1000
    iterations: int = 5000
    every: int = 500
    calibration: int = 2000


QUICK = Setting(width=100, iterations=40, every=20, calibration=200)


def images(data: str, split: str) -> tuple[Tensor, Tensor]:
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
        for layer in (self.first, self.hidden, self.last):
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
    """The hidden matrix as the factors of a randomised SVD with one power iteration."""
    smaller = eckart.factorize(network, {"hidden": rank})
    U, S, Vh = eckart.linalg.randomized_svd(
        network.hidden.weight,
        rank,
        power_iterations=1,
        generator=torch.Generator().manual_seed(seed),
    )
    with torch.no_grad():
        smaller.hidden[0].weight.copy_(S.sqrt()[:, None] * Vh)
        smaller.hidden[1].weight.copy_(U * S.sqrt())
    return smaller


def trained(
    networks: dict[str, nn.Module], data: tuple[Tensor, Tensor], setting: Setting, seed: int
) -> Iterator[int]:
    """Train all networks side by side on the same batches; pause now and then to be looked at."""
    pixels, labels = data
    optimisers = [torch.optim.SGD(n.parameters(), RATE) for n in networks.values()]
    generator, done = torch.Generator().manual_seed(seed), 0
    while done < setting.iterations:
        for rows in torch.randperm(len(pixels), generator=generator).split(BATCH):
            for network, optimiser in zip(networks.values(), optimisers, strict=True):
                optimiser.zero_grad()
                F.cross_entropy(network(pixels[rows]), labels[rows]).backward()
                optimiser.step()
            done += 1
            if done % setting.every == 0:
                yield done
            if done == setting.iterations:
                return


def smaller_networks(
    dense: Network, train: tuple[Tensor, Tensor], setting: Setting
) -> Iterator[tuple[str, int, nn.Module]]:
    """What is cut out of a trained network, by kind and rank of the hidden matrix."""
    moments = eckart.calibrate(dense, train[0][: setting.calibration].split(250))
    for rank in ranks(setting):
        hidden = {"hidden": rank}
        yield "SVD after training", rank, eckart.factorize(dense, hidden)
        weighted = eckart.factorize(dense, hidden, init="weighted", moments=moments)
        yield "weighted by A and G after training", rank, weighted
        size = sum(p.numel() for p in weighted.parameters())
        if size < sum(p.numel() for p in dense.parameters()):
            best = eckart.compress(dense, moments, budget=eckart.Budget(params=size))
            yield "whole network, eckart.compress", rank, best.model


def ranks(setting: Setting) -> list[int]:
    return [max(1, round(share * setting.width)) for share in SHARES]


def study(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], setting: Setting, seed: int
) -> dict[str, list[dict]]:
    """Every network measured after each run, and accuracies while they were trained."""
    torch.manual_seed(seed)
    dense, (half, *_) = Network(setting.width), ranks(setting)
    networks = {("dense", None): dense, ("randomised SVD, trained", half): None}
    networks[("randomised SVD, trained", half)] = randomised(dense, half, seed)
    for rank in ranks(setting):
        networks[("SVD, trained", rank)] = eckart.factorize(dense, {"hidden": rank})
    score = eckart.accuracy(list(zip(*(part.split(500) for part in test), strict=True)))
    rows, history = [], []

    def measured(kind: str, rank: int | None, run: int, network: nn.Module) -> None:
        found = eckart.measure(network, test[0][:1], evaluate=score, latency=False)
        hidden = sum(p.numel() for n, p in network.named_parameters() if "hidden" in n)
        accuracy, n = found.score.value, found.score.n
        rows.append({"kind": kind, "rank": rank, "run": run, "accuracy": accuracy, "images": n})
        rows[-1] |= {"params": found.params, "macs": found.macs, "hidden": hidden}

    for run in (1, 2):
        for done in trained({str(k): n for k, n in networks.items()}, train, setting, seed + run):
            for (kind, rank), network in networks.items():
                at = {
                    "kind": kind,
                    "rank": rank,
                    "iteration": done + (run - 1) * setting.iterations,
                }
                history.append(at | {"accuracy": score(network).value})
            print(f"run {run}, iteration {done}", flush=True)
        for (kind, rank), network in networks.items():
            measured(kind, rank, run, network)
        for kind, rank, network in smaller_networks(dense, train, setting):
            measured(kind, rank, run, network)
        stored = eckart.factorize(dense, {"hidden": half})
        stored.hidden = Remultiplied(stored.hidden)
        measured("factors multiplied out in every pass (the course)", half, run, stored)
    return {"rows": rows, "history": history}


def table(rows: Sequence[dict]) -> str:
    """Accuracy after each run beside what is stored and computed."""
    lines = ["| hidden matrix | rank | its parameters | all parameters | MACs | 1 run | 2 runs |"]
    lines.append("|---" * 7 + "|")
    once, twice = ([row for row in rows if row["run"] == run] for run in (1, 2))
    for kind in dict.fromkeys(row["kind"] for row in once):
        for a, b in zip(once, twice, strict=True):
            if a["kind"] == kind:
                sizes = (f"{a[key]:,}" for key in ("hidden", "params", "macs"))
                scores = (f"{100 * row['accuracy']:.2f}" for row in (a, b))
                lines.append(
                    "| " + " | ".join([kind, str(a["rank"] or ""), *sizes, *scores]) + " |"
                )
    return "\n".join(lines)


def figure(rows: Sequence[dict], path: Path) -> None:
    """Accuracy after two runs against all parameters."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    drawing, axes = plt.subplots(figsize=(7, 4.5))
    last = [row for row in rows if row["run"] == 2 and "course" not in row["kind"]]
    for kind in dict.fromkeys(row["kind"] for row in last):
        of_kind = sorted((r["params"], 100 * r["accuracy"]) for r in last if r["kind"] == kind)
        axes.plot(*zip(*of_kind, strict=True), marker="o", label=kind)
    axes.set(xscale="log", xlabel="parameters", ylabel="test accuracy, %")
    axes.legend(fontsize=8)
    drawing.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(drawing)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The hidden matrix of an MLP on MNIST, low rank")
    parser.add_argument("--data", default="ylecun/mnist", help="id on the hub, or a local folder")
    parser.add_argument("--quick", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    given = parser.parse_args(arguments)
    train, test = (images(given.data, split) for split in ("train", "test"))
    report = study(train, test, QUICK if given.quick else Setting(), given.seed)
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "mlp-mnist.json").write_text(json.dumps(report, indent=1) + "\n")
    figure(report["rows"], given.output / "mlp-mnist.png")
    page = given.output / "mlp-mnist.md"
    text = page.read_text() if page.exists() else f"{START}\n{END}\n"
    before, _, rest = text.partition(START)
    page.write_text(f"{before}{START}\n{table(report['rows'])}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()

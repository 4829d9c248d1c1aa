"""Predicted against measured loss: one layer changed at a time, and whole plans.

The measured loss is half the squared change of the logits, mean over held-out images.

python -m benchmarks.main_path.predicted_measured --data ../data --networks resnet20 lenet5
"""

import argparse
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import torch
from torch import Tensor, nn

import eckart
from benchmarks.main_path.frontier import setting
from eckart.records import Curves

mpl.use("Agg")
BATCH, SHARES, KEEPS = 250, (0.3, 0.5, 0.7), (0.7, 0.5, 0.3)


@torch.inference_mode()
def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """The network's outputs."""
    return torch.cat([model(part) for part in images.split(BATCH)])


def single_plans(curves: Curves) -> Iterator[tuple[str, eckart.Plan]]:
    """Plans that factor one layer alone or narrow one group alone, at some shares of its cost."""
    for curve in curves.curves:
        yield from plans_of(curve.site.name, replace(curves, curves=(curve,), groups=()))
    others = dict.fromkeys(curves.specs, "only widths change")
    for group in curves.groups:
        alone = replace(curves, groups=(group,)).without(others)
        yield from plans_of(f"channels of {group.group.name}", alone)


def plans_of(name: str, alone: Curves) -> Iterator[tuple[str, eckart.Plan]]:
    """The best plan at each share of what these sites cost, where one is cheap enough."""
    for share in SHARES:
        with suppress(eckart.BudgetError):
            yield name, eckart.allocate(alone, eckart.Budget(params=share, of="sites"))


def rows_of(
    network: str, data: Path | None, calibration: int, test: int
) -> list[dict[str, object]]:
    """One row per changed layer and per whole plan."""
    on = setting(network, data, calibration, test)
    batches = list(zip(*(part.split(BATCH) for part in on.calibration), strict=True))
    moments = eckart.calibrate(on.model, batches, progress=False)
    curves = eckart.curves(on.model, moments, progress=False)
    reference = logits_of(on.model.eval(), on.test[0])
    whole = [
        (f"whole network, {keep}", eckart.allocate(curves, eckart.Budget(params=keep)))
        for keep in KEEPS
    ]
    rows: list[dict[str, object]] = []
    for name, plan in [*single_plans(curves), *whole]:
        changed = logits_of(eckart.apply(on.model, plan, moments), on.test[0])
        measured = 0.5 * float((changed - reference).square().sum(1).mean())
        rows.append(
            {"network": network, "what": name, "predicted": plan.loss, "measured": measured}
        )
    return rows


def draw(rows: list[dict[str, object]], path: Path) -> None:
    """Scatter on logarithmic axes with the lines 1:1 and 1:5."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 5.2), dpi=130)
    for network in dict.fromkeys(row["network"] for row in rows):
        for whole, marker in ((False, "o"), (True, "*")):
            points = [
                (r["predicted"], r["measured"])
                for r in rows
                if r["network"] == network and str(r["what"]).startswith("whole") == whole
            ]
            label = f"{network}, {'whole plans' if whole else 'one layer'}"
            axes.scatter(
                *zip(*points, strict=True), s=70 if whole else 16, marker=marker, label=label
            )
    low, high = axes.get_xlim()
    low = max(low, min(float(str(r["predicted"])) for r in rows) / 2)
    for factor, style in ((1, "-"), (5, ":"), (0.2, ":")):
        axes.plot([low, high], [low * factor, high * factor], style, color="0.5", lw=0.8)
    axes.set(xscale="log", yscale="log", xlabel="predicted loss (half squared logits)")
    axes.set_ylabel("measured on held-out images")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Predicted against measured loss")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--networks", nargs="+", default=["resnet20", "resnet32", "lenet5"])
    parser.add_argument("--calibration", type=int, default=2000)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--figure", type=Path, default=Path("docs/results/predicted-measured.png"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for network in arguments.networks:
        rows += rows_of(network, arguments.data, arguments.calibration, arguments.test)
    (arguments.output / "predicted_measured.json").write_text(json.dumps(rows, indent=1) + "\n")
    ratios = [float(str(r["measured"])) / float(str(r["predicted"])) for r in rows]
    inside = sum(0.2 <= ratio <= 5 for ratio in ratios)
    ordered = sorted(ratios)
    print(
        f"{len(ratios)} changes; measured / predicted: median {ordered[len(ratios) // 2]:.2f}, "
        f"range {ordered[0]:.2f} to {ordered[-1]:.2f}; {inside} within a factor of 5"
    )
    draw(rows, arguments.figure)


if __name__ == "__main__":
    main()

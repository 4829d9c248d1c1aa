"""What each shape of a factored convolution adds: accuracy of ResNet-20 by the methods offered.

python -m benchmarks.factorisation_kit.shapes --output benchmarks/results/shapes.json
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

import eckart
from benchmarks.main_path.frontier import Setting, setting
from benchmarks.peers.ours import moments_of
from benchmarks.subjects.networks import accuracy
from benchmarks.tables import markdown

SVD, SPATIAL, CHANNELS = ("weighted_svd",), ("spatial",), ("backward_elimination",)
TUCKER, POINTWISE, CP = ("tucker2",), ("pointwise_first",), ("cp",)
# spatial last among the shapes: removals are measured against the factors of the last one
OFFERED: dict[str, tuple[str, ...]] = {
    "low rank": SVD,
    "low rank, spatial": SVD + SPATIAL,
    "low rank, spatial, pointwise first": SVD + POINTWISE + SPATIAL,
    "low rank, spatial, Tucker-2": SVD + TUCKER + SPATIAL,
    "low rank, spatial, CP": SVD + CP + SPATIAL,
    "low rank, spatial, pointwise first, Tucker-2": SVD + POINTWISE + TUCKER + SPATIAL,
    "low rank, spatial, channels": SVD + SPATIAL + CHANNELS,
    "low rank, spatial, channels, CP": SVD + CP + SPATIAL + CHANNELS,
    "low rank, spatial, channels, pointwise first": SVD + POINTWISE + SPATIAL + CHANNELS,
    "low rank, spatial, channels, Tucker-2": SVD + TUCKER + SPATIAL + CHANNELS,
    "low rank, spatial, channels, both": SVD + POINTWISE + TUCKER + SPATIAL + CHANNELS,
}
Row = dict[str, Any]
BUDGETS = [("params", k) for k in (0.7, 0.5, 0.3)] + [("macs", k) for k in (0.5, 0.3)]


def rows(on: Setting, offered: Sequence[str]) -> Iterator[Row]:
    """One row for every set of methods and budget."""
    moments = moments_of(on.model, on.calibration)
    for name in offered:
        moments.held.clear()  # each set of methods is timed alone
        start = time.process_time()
        options = eckart.curves(on.model, moments, methods=OFFERED[name], progress=False)
        seconds = time.process_time() - start
        for metric, keep in BUDGETS:
            plan = eckart.allocate(options, eckart.Budget(costs={metric: keep}))
            smaller = eckart.apply(on.model, plan, moments)
            yield {
                "network": on.network,
                "offered": name,
                "metric": metric,
                "keep": keep,
                "accuracy": accuracy(smaller, *on.test),
                "images": len(on.test[0]),
                "loss": plan.loss,
                "chosen": dict(Counter(choice.method for choice in plan.choices.values())),
                "options": sum(len(curve.options) for curve in options.curves),
                "curves_cpu_seconds": seconds,
            }


def table(found: Sequence[Row]) -> str:
    """Accuracy in percent by the methods offered and the budget."""
    cells = {(row["offered"], row["metric"], row["keep"]): row for row in found}
    titles = [f"{keep:g} {'MACs' if metric == 'macs' else metric}" for metric, keep in BUDGETS]
    lines = []
    for name in dict.fromkeys(row["offered"] for row in found):
        own = [cells[name, metric, keep] for metric, keep in BUDGETS]
        texts = [f"{100 * row['accuracy']:.1f}" for row in own]
        lines.append((name, *texts, f"{own[0]['options']:,}"))
    return markdown.table(("offered", *titles, "options"), lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="What each shape adds to the frontier")
    parser.add_argument("--data", type=Path, help="data folder; default ECKART_DATA")
    parser.add_argument("--network", default="resnet20", choices=["resnet20", "resnet32"])
    parser.add_argument("--offered", nargs="+", default=list(OFFERED), choices=list(OFFERED))
    parser.add_argument("--test", type=int, default=0, help="test images; 0 for all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    on = setting(arguments.network, arguments.data, 2000, arguments.test)
    found = []
    for row in rows(on, arguments.offered):
        found.append(row)
        print(*row.values(), flush=True)
        if arguments.output:
            arguments.output.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()

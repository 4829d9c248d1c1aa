"""What a calibration costs beside a plain forward and backward pass, and what follows it.

python -m benchmarks.costs.calibration_cost --data ../data --network resnet20
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import eckart
from benchmarks.main_path.frontier import setting
from benchmarks.peers.ours import FACTORS
from eckart.methods import DEFAULT_METHODS

BATCH, ROUNDS = 250, 5
FAMILIES = {"factors": FACTORS, "both": DEFAULT_METHODS}
BUDGETS = tuple(round(0.975 - 0.04 * i, 3) for i in range(20))


def plain(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> None:
    """Forward and backward over all batches with weight gradients, as in training."""
    for images, labels in batches:
        model.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(images), labels, reduction="sum").backward()
    model.zero_grad(set_to_none=True)


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def after(
    model: nn.Module, moments: eckart.Moments, methods: tuple[str, ...]
) -> dict[str, float | int]:
    """Seconds of the stages that follow a calibration."""
    found: list[eckart.Curves] = []
    predict = seconds(
        lambda: found.append(eckart.curves(model, moments, methods=methods, progress=False))
    )
    (curves,) = found
    allocate = seconds(lambda: [eckart.allocate(curves, eckart.Budget(params=b)) for b in BUDGETS])
    half = eckart.allocate(curves, eckart.Budget(params=0.5))
    return {
        "options": sum(len(curve.options) for curve in curves.curves),
        "curves_s": predict,
        "allocate_20_budgets_s": allocate,
        "hull_s": seconds(lambda: eckart.hull(curves)),
        "apply_half_s": seconds(lambda: eckart.apply(model, half, moments)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds for each stage")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    on = setting(arguments.network, arguments.data, arguments.images, 500)
    model, batches = on.model, list(zip(*(p.split(BATCH) for p in on.calibration), strict=True))

    plain(model, batches[:1])
    pairs = []
    for _ in range(ROUNDS):  # in turn, so that a slow spell of the machine meets both
        base = seconds(lambda: plain(model, batches))
        only_a = seconds(lambda: eckart.calibrate(model, batches, metric=None, progress=False))
        both = seconds(lambda: eckart.calibrate(model, batches, progress=False))
        pairs.append((base, only_a, both))
    moments = eckart.calibrate(model, batches, progress=False)
    result = {
        "network": arguments.network,
        "images": arguments.images,
        "batch": BATCH,
        "threads": arguments.threads,
        "plain_forward_backward_s": statistics.median(p[0] for p in pairs),
        "calibrate_a_s": statistics.median(p[1] for p in pairs),
        "calibrate_a_and_g_s": statistics.median(p[2] for p in pairs),
        "factor_a_and_g": statistics.median(p[2] / p[0] for p in pairs),
        "factor_a": statistics.median(p[1] / p[0] for p in pairs),
        "families": {name: after(model, moments, m) for name, m in FAMILIES.items()},
        "moments_mb": moments.nbytes / 1e6,
    }
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()

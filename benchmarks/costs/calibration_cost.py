"""Seconds of a calibration, of plain forward and backward passes, and of the later stages."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

import eckart
from benchmarks.measuring.clocks import timed
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import write_json
from benchmarks.peers.ours import FACTORS
from benchmarks.subjects.data import BATCH, CALIBRATION_IMAGES, Labelled
from benchmarks.subjects.reference import NETWORKS, reference
from eckart.methods import DEFAULT_METHODS

FAMILIES = {"factors": FACTORS, "both": DEFAULT_METHODS}
BUDGETS = tuple(round(0.975 - 0.04 * i, 3) for i in range(20))


def plain(model: nn.Module, batches: Sequence[Labelled]) -> None:
    """Forward and backward passes over all batches, with weight gradients as in training."""
    for images, labels in batches:
        model.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(images), labels, reduction="sum").backward()
    model.zero_grad(set_to_none=True)


def calibrations(model: nn.Module, batches: Sequence[Labelled], rounds: int) -> dict[str, float]:
    """Medians of interleaved rounds, so that a slow moment of the machine affects all three."""
    plain(model, batches[:1])
    found = []
    for _ in range(rounds):
        base, _ = timed(lambda: plain(model, batches))
        only_a, _ = timed(lambda: eckart.calibrate(model, batches, metric=None, progress=False))
        both, _ = timed(lambda: eckart.calibrate(model, batches, progress=False))
        found.append((base, only_a, both))
    return {
        "plain_forward_backward_s": statistics.median(base for base, _, _ in found),
        "calibrate_a_s": statistics.median(only_a for _, only_a, _ in found),
        "calibrate_a_and_g_s": statistics.median(both for _, _, both in found),
        "factor_a_and_g": statistics.median(both / base for base, _, both in found),
        "factor_a": statistics.median(only_a / base for base, only_a, _ in found),
    }


def after(
    model: nn.Module, moments: eckart.Moments, methods: tuple[str, ...]
) -> dict[str, float | int]:
    """Seconds of the stages that follow a calibration."""
    predict, curves = timed(lambda: eckart.curves(model, moments, methods=methods, progress=False))
    allocate, _ = timed(
        lambda: [eckart.allocate(curves, eckart.Budget(params=keep)) for keep in BUDGETS]
    )
    half = eckart.allocate(curves, eckart.Budget(params=0.5))
    return {
        "options": sum(len(curve.options) for curve in curves.curves),
        "curves_s": predict,
        "allocate_20_budgets_s": allocate,
        "hull_s": timed(lambda: eckart.hull(curves))[0],
        "apply_half_s": timed(lambda: eckart.apply(model, half, moments))[0],
    }


def measure(
    output: Path,
    data: Path | None = None,
    *,
    network: str = "resnet20",
    images: int = CALIBRATION_IMAGES,
    rounds: int = 5,
) -> None:
    """Every stage of one network."""
    on = reference(network, data, images, 1)
    found = calibrations(on.model, on.batches, rounds)
    moments = eckart.calibrate(on.model, on.batches, progress=False)
    result = {
        "network": network,
        "images": images,
        "batch": BATCH,
        "threads": torch.get_num_threads(),
        **found,
        "families": {name: after(on.model, moments, m) for name, m in FAMILIES.items()},
        "moments_mb": moments.nbytes / 1e6,
    }
    print(result)
    write_json(result, output)


MEASUREMENT = Measurement(measure, choices={"network": NETWORKS}, threads=2)

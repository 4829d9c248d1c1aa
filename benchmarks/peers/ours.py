"""Eckart itself in the peers' signature: one calibration per network, then a plan per budget."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import nn

import eckart
from benchmarks.peers.calibration import Calibration
from eckart.methods import DEFAULT_METHODS

BATCH = 250
_moments: dict[int, tuple[nn.Module, eckart.Moments]] = {}
_curves: dict[tuple[int, tuple[str, ...]], eckart.Curves] = {}


def moments_of(model: nn.Module, calibration: Calibration) -> eckart.Moments:
    """Moments of the logit metric, gathered once per network."""
    if id(model) not in _moments:
        batches = list(zip(*(part.split(BATCH) for part in calibration), strict=True))
        _moments[id(model)] = (model, eckart.calibrate(model, batches, progress=False))
    return _moments[id(model)][1]


def _compress(
    model: nn.Module,
    calibration: Calibration,
    keep: float,
    *,
    methods: tuple[str, ...],
    metric: str = "params",
    weigh_outputs: bool = True,
) -> nn.Module:
    moments = moments_of(model, calibration)
    if not weigh_outputs:
        moments = replace(moments, output_grams={}, metric=None)
    key = (id(model), methods if weigh_outputs else ("A", *methods))
    if key not in _curves:
        _curves[key] = eckart.curves(model, moments, methods=methods, progress=False)
    plan = eckart.allocate(_curves[key], eckart.Budget(costs={metric: keep}))
    return eckart.apply(model, plan, moments)


LOW_RANK, FACTORS = ("weighted_svd",), ("weighted_svd", "spatial")
CHANNELS = ("backward_elimination",)
WITH_CP = ("weighted_svd", "cp", "spatial", "backward_elimination")
OURS: dict[str, Callable[[nn.Module, Calibration, float], nn.Module]] = {
    "ours": partial(_compress, methods=DEFAULT_METHODS),
    "ours_cp": partial(_compress, methods=WITH_CP),
    "ours_factors": partial(_compress, methods=FACTORS),
    "ours_channels": partial(_compress, methods=CHANNELS),
    "ours_low_rank": partial(_compress, methods=LOW_RANK),
    "ours_a_only": partial(_compress, methods=LOW_RANK, weigh_outputs=False),
    "ours_macs": partial(_compress, methods=DEFAULT_METHODS, metric="macs"),
    "ours_cp_macs": partial(_compress, methods=WITH_CP, metric="macs"),
    "ours_factors_macs": partial(_compress, methods=FACTORS, metric="macs"),
    "ours_channels_macs": partial(_compress, methods=CHANNELS, metric="macs"),
}

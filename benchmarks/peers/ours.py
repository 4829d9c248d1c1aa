"""Eckart with the peers' signature: one calibration per network, then a plan per budget."""

from dataclasses import replace

from torch import nn

import eckart
from benchmarks.peers import Compress
from benchmarks.peers.calibration import Calibration, once
from benchmarks.subjects.data import batches
from eckart.methods import Cache
from eckart.records.offer import AUTO
from eckart.search.plan import Search, fitted

LOW_RANK, FACTORS = ("weighted_svd",), ("weighted_svd", "spatial")
CHANNELS = ("backward_elimination",)
WITH_CP = ("weighted_svd", "cp", "spatial", "backward_elimination")
WITHOUT_CP = ("weighted_svd", "spatial", "backward_elimination")


@once
def moments_of(model: nn.Module, calibration: Calibration) -> eckart.Moments:
    """Moments by the default metric, gathered once per network."""
    return eckart.calibrate(model, batches(calibration), progress=False)


def inputs_alone(moments: eckart.Moments) -> eckart.Moments:
    """The same moments without the outputs: `A` only."""
    return replace(moments, output_grams={}, metric=None)


def ours(
    methods: str | tuple[str, ...], cost: str = "params", weigh_outputs: bool = True
) -> Compress:
    """These methods under one budget, as `compress` does; curves are computed once per network."""

    def known(model: nn.Module, calibration: Calibration) -> eckart.Moments:
        moments = moments_of(model, calibration)
        return moments if weigh_outputs else inputs_alone(moments)

    @once
    def curves(model: nn.Module, calibration: Calibration) -> eckart.Curves:
        return eckart.curves(model, known(model, calibration), methods=methods, progress=False)

    def compressed(model: nn.Module, calibration: Calibration, keep: float) -> nn.Module:
        options, moments = curves(model, calibration), known(model, calibration)
        budget, cache = eckart.Budget(costs={cost: keep}), Cache.beside(moments, options.states)
        search = Search(model, moments, None, budget, cache)
        found, _ = fitted(model, moments, options, search.choose, cache)
        return found.model

    return compressed


OURS: dict[str, Compress] = {
    "ours": ours(AUTO),
    "ours_without_cp": ours(WITHOUT_CP),
    "ours_factors": ours(FACTORS),
    "ours_channels": ours(CHANNELS),
    "ours_low_rank": ours(LOW_RANK),
    "ours_a_only": ours(LOW_RANK, weigh_outputs=False),
    "ours_macs": ours(AUTO, cost="macs"),
    "ours_cp_macs": ours(WITH_CP, cost="macs"),
    "ours_factors_macs": ours(FACTORS, cost="macs"),
    "ours_channels_macs": ours(CHANNELS, cost="macs"),
}

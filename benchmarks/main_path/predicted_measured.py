"""Predicted against measured loss: one layer changed at a time, and whole plans.

The measured loss is half the squared change of the logits, mean over held-out images.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import eckart
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.peers.ours import moments_of
from benchmarks.subjects.data import BATCH, CALIBRATION_IMAGES
from benchmarks.subjects.reference import NETWORKS, Reference, reference
from benchmarks.subjects.scoring import logits_of

SHARES, KEEPS = (0.3, 0.5, 0.7), (0.7, 0.5, 0.3)
Plans = Iterator[tuple[str, eckart.Plan]]


def single_plans(curves: eckart.Curves) -> Plans:
    """Plans that factor a single layer or narrow a single group, at some shares of its cost."""
    for curve in curves.curves:
        yield from plans_of(curve.site.name, replace(curves, curves=(curve,), groups=()))
    others = dict.fromkeys(curves.specs, "only widths change")
    for group in curves.groups:
        alone = replace(curves, groups=(group,)).without(others)
        yield from plans_of(f"channels of {group.group.name}", alone)


def plans_of(name: str, alone: eckart.Curves) -> Plans:
    """The best plan at each share of the cost of these sites, if one is cheap enough."""
    for share in SHARES:
        with suppress(eckart.BudgetError):
            yield name, eckart.allocate(alone, eckart.Budget(params=share, of="sites"))


def whole_plans(curves: eckart.Curves) -> Plans:
    """Plans of the whole network."""
    for keep in KEEPS:
        yield f"whole network, {keep}", eckart.allocate(curves, eckart.Budget(params=keep))


def rows(on: Reference) -> Iterator[Row]:
    """One row per changed layer and per whole plan."""
    moments = moments_of(on.model, on.calibration)
    curves = eckart.curves(on.model, moments, progress=False)
    reference = logits_of(on.model, on.test[0], BATCH)
    for name, plan in (*single_plans(curves), *whole_plans(curves)):
        changed = logits_of(eckart.apply(on.model, plan, moments), on.test[0], BATCH)
        measured = 0.5 * float((changed - reference).square().sum(1).mean())
        yield {"network": on.network, "what": name, "predicted": plan.loss, "measured": measured}


def measure(
    output: Path,
    data: Path | None = None,
    *,
    networks: Sequence[str] = NETWORKS,
    calibration: int = CALIBRATION_IMAGES,
    test: int = 1000,
) -> None:
    """Measure the requested networks again; rows of other networks stay."""
    results = Results(output)
    for network in networks:
        on = reference(network, data, calibration, test)
        results.forget(network=network)
        for row in rows(on):
            results.add(row)


MEASUREMENT = Measurement(measure, choices={"networks": NETWORKS}, threads=2)

"""Which channels to keep: the group lasso, the largest norm and backward elimination compared."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from torch import nn

import eckart
from benchmarks.channels.channel_choosers import (
    CHOOSERS,
    Chooser,
    Site,
    Supports,
    removed,
    sites_of,
)
from benchmarks.measuring.clocks import timed
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Row, write_json
from benchmarks.subjects.data import CALIBRATION_IMAGES, Labelled, batches, cifar10, first, mnist
from benchmarks.subjects.scoring import accuracy
from benchmarks.subjects.trained import load_resnet, trained_lenet

FRACTIONS = (0.75, 0.5, 0.35, 0.25, 0.15, 0.1)
BATCH = 100


def each_alone(
    model: nn.Module, moments: eckart.Moments, fractions: Sequence[float], test: Labelled
) -> Iterator[Row]:
    """One group at a time."""
    for site in sites_of(model, moments):
        sizes = site.sizes(fractions)
        for name, choose in CHOOSERS.items():
            seconds, supports = timed(partial(choose, site, sizes))
            for fraction, size, kept in zip(fractions, sizes, supports, strict=True):
                yield {
                    "group": f"{site.group.name} → {site.layer}",
                    "chooser": name,
                    "fraction": fraction,
                    "size": size,
                    "kept": len(kept),
                    "loss": site.loss(kept),
                    "accuracy": accuracy(removed(model, [(site, kept)]), *test, batch=100),
                    "chooser_seconds": seconds,
                }


def chosen_by(choose: Chooser, sites: Sequence[Site], fractions: Sequence[float]) -> list[Supports]:
    """The units that one way keeps in every group."""
    return [choose(site, site.sizes(fractions)) for site in sites]


def all_at_once(
    model: nn.Module, moments: eckart.Moments, fractions: Sequence[float], test: Labelled
) -> Iterator[Row]:
    """All groups at the same fraction."""
    sites = sites_of(model, moments)
    for name, choose in CHOOSERS.items():
        seconds, chosen = timed(partial(chosen_by, choose, sites, fractions))
        for i, fraction in enumerate(fractions):
            kept = [(site, supports[i]) for site, supports in zip(sites, chosen, strict=True)]
            yield {
                "group": f"{len(sites)} inner groups",
                "chooser": name,
                "fraction": fraction,
                "size": sum(site.sizes(fractions)[i] for site in sites),
                "kept": sum(len(units) for _, units in kept),
                "loss": sum(site.loss(units) for site, units in kept),
                "accuracy": accuracy(removed(model, kept), *test),
                "chooser_seconds": seconds,
            }


def measure(
    output: Path,
    data: Path | None = None,
    seed: int = 0,
    *,
    fractions: Sequence[float] = FRACTIONS,
    calibration: int = CALIBRATION_IMAGES,
    test: int = 10_000,
) -> None:
    """LeNet-5 group by group; the nine inner groups of ResNet-20 together, at two fractions."""
    model, images = trained_lenet(data, seed), first(mnist(data), calibration)
    moments = eckart.calibrate(model, batches(images, BATCH), progress=False)
    tested = first(mnist(data, "test"), test)
    report = {"lenet5": list(each_alone(model, moments, fractions, tested))}
    write_json(report, output)
    residual, images = load_resnet(data), first(cifar10(data), calibration)
    moments = eckart.calibrate(residual, batches(images, BATCH), progress=False)
    tested = first(cifar10(data, "test"), test)
    report["resnet20"] = list(all_at_once(residual, moments, fractions[:2], tested))
    write_json(report, output)


MEASUREMENT = Measurement(measure)

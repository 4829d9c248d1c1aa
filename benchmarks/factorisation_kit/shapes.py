"""What each shape of a factored convolution adds: accuracy by the methods offered."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import eckart
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.peers.ours import moments_of
from benchmarks.subjects.reference import NETWORKS, Reference, reference
from benchmarks.subjects.scoring import accuracy

SVD, SPATIAL, CHANNELS = ("weighted_svd",), ("spatial",), ("backward_elimination",)
TUCKER, CP = ("tucker2",), ("cp",)
# spatial last among the shapes: removals are measured against the factors of the last one
OFFERED: dict[str, tuple[str, ...]] = {
    "low rank": SVD,
    "low rank, spatial": SVD + SPATIAL,
    "low rank, spatial, Tucker-2": SVD + TUCKER + SPATIAL,
    "low rank, spatial, CP": SVD + CP + SPATIAL,
    "low rank, spatial, channels": SVD + SPATIAL + CHANNELS,
    "low rank, spatial, channels, CP": SVD + CP + SPATIAL + CHANNELS,
    "low rank, spatial, channels, Tucker-2": SVD + TUCKER + SPATIAL + CHANNELS,
}
BUDGETS = [("params", k) for k in (0.7, 0.5, 0.3)] + [("macs", k) for k in (0.5, 0.3)]


def rows(on: Reference, offered: Sequence[str]) -> Iterator[Row]:
    """One row per set of methods and budget."""
    moments = moments_of(on.model, on.calibration)
    for name in offered:
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


def measure(
    output: Path,
    data: Path | None = None,
    *,
    network: str = "resnet20",
    offered: Sequence[str] = tuple(OFFERED),
    test: int = 0,
) -> None:
    """Measure the requested rows again; other rows of the results stay."""
    results = Results(output)
    on = reference(network, data, test=test)
    for name in offered:
        results.forget(network=network, offered=name)
    for row in rows(on, offered):
        results.add(row)


MEASUREMENT = Measurement(
    measure, choices={"network": NETWORKS, "offered": tuple(OFFERED)}, threads=2
)

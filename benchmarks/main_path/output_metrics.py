"""Which output metric ranks layers best: accuracy after compression without fine-tuning."""

from collections.abc import Sequence
from pathlib import Path

import eckart
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results
from benchmarks.peers.ours import FACTORS, inputs_alone, moments_of
from benchmarks.subjects.data import CALIBRATION_IMAGES
from benchmarks.subjects.reference import NETWORKS, Reference, reference
from benchmarks.subjects.scoring import accuracy
from eckart.metrics import Probe

METRICS: dict[str, Probe | None] = {
    "logits": eckart.Logits(),
    "logits, mean removed": eckart.Logits(class_dim=1),
    "Fisher, sampled": eckart.Fisher(),
    "Fisher, true targets": eckart.Fisher(targets="true"),
    "Fisher, temperature 2": eckart.Fisher(temperature=2.0),
    "Fisher, temperature 4": eckart.Fisher(temperature=4.0),
    "Fisher, temperature 8": eckart.Fisher(temperature=8.0),
    "none (A only)": None,
}
KEEPS = {"resnet20": (0.5, 0.3), "resnet32": (0.5, 0.3), "lenet5": (0.1, 0.05)}


def moments(on: Reference, metric: str) -> eckart.Moments:
    """Moments by the metric of this name; without a metric, those of the inputs alone."""
    chosen = METRICS[metric]
    if chosen is None:
        return inputs_alone(moments_of(on.model, on.calibration))
    return eckart.calibrate(on.model, on.batches, metric=chosen, progress=False)


def measure(
    output: Path,
    data: Path | None = None,
    *,
    networks: Sequence[str] = NETWORKS,
    metrics: Sequence[str] = tuple(METRICS),
    calibration: int = CALIBRATION_IMAGES,
    test: int = 0,
) -> None:
    """Measure the requested rows again, with factors alone; other rows stay."""
    results = Results(output)
    for network in networks:
        on = reference(network, data, calibration, test)
        for metric in metrics:
            known = moments(on, metric)
            options = eckart.curves(on.model, known, methods=FACTORS, progress=False)
            results.forget(network=network, metric=metric)
            for keep in KEEPS[network]:
                plan = eckart.allocate(options, eckart.Budget(params=keep))
                found = accuracy(eckart.apply(on.model, plan, known), *on.test)
                row = {"network": network, "metric": metric, "keep": keep, "accuracy": found}
                results.add(row | {"images": len(on.test[0])})


MEASUREMENT = Measurement(
    measure, choices={"networks": NETWORKS, "metrics": tuple(METRICS)}, threads=2
)

"""Every peer at every budget: accuracy, parameters, MACs and time on three image networks."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.measuring.counts import count_macs, count_params
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results
from benchmarks.peers import PEERS
from benchmarks.peers.ours import OURS
from benchmarks.subjects.data import CALIBRATION_IMAGES
from benchmarks.subjects.reference import NETWORKS, Reference, reference
from benchmarks.subjects.scoring import accuracy

KEEPS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
METHODS = OURS | PEERS
FEW = ("svd_uniform", "svd_llm", "balf_params", "ours", "ours_without_cp", "ours_factors")
EVERYTHING = ((tuple(METHODS), KEEPS),)
ASKED = {  # per network: methods with the fractions at which they are measured
    "resnet20": EVERYTHING,
    "resnet32": ((FEW, (0.7, 0.5, 0.3)), (("ours", "ours_macs", "ours_cp_macs"), KEEPS)),
    "lenet5": (((*FEW, "ours_channels", "ours_low_rank"), (0.5, 0.3, 0.2, 0.1, 0.05)),),
}
Pairs = Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Point:
    """One compressed network; fractions are after/before, accuracy is a fraction of `images`."""

    network: str
    method: str
    keep: float
    params: float
    macs: float
    accuracy: float
    images: int
    seconds: float

    def __str__(self) -> str:
        """One line of progress."""
        return (
            f"{self.method:22} {self.keep:5.2f}  {100 * self.accuracy:5.1f} %"
            f"  params {self.params:.3f}  MACs {self.macs:.3f}  {self.seconds:6.1f} s"
        )


def asked(network: str, methods: Sequence[str] = (), keep: Sequence[float] = ()) -> Pairs:
    """The methods and fractions to measure; by default those that the documents show."""
    return [
        (method, fraction)
        for usual, fractions in ASKED.get(network, EVERYTHING)
        for method in (methods or usual)
        for fraction in (keep or fractions)
    ]


def points(on: Reference, pairs: Pairs) -> Iterator[Point]:
    """One `Point` per method and budget, except for budgets that cannot be reached."""
    example = on.calibration[0][:1]
    dense_params, dense_macs = count_params(on.model), count_macs(on.model, example)
    for method, keep in dict.fromkeys(pairs):
        start = time.perf_counter()
        try:
            small = METHODS[method](on.model, on.calibration, keep)
        except ValueError as error:
            print(f"{method:22} {keep:5.2f}  {error}", flush=True)
            continue
        seconds = time.perf_counter() - start
        yield Point(
            network=on.network,
            method=method,
            keep=keep,
            params=count_params(small) / dense_params,
            macs=count_macs(small, example) / dense_macs,
            accuracy=accuracy(small, *on.test),
            images=len(on.test[0]),
            seconds=seconds,
        )


def measure(
    output: Path,
    data: Path | None = None,
    *,
    networks: Sequence[str] = NETWORKS,
    methods: Sequence[str] = (),
    keep: Sequence[float] = (),
    calibration: int = CALIBRATION_IMAGES,
    test: int = 0,
) -> None:
    """Measure the requested rows again; other rows of the results stay."""
    results = Results(output)
    for network in networks:
        on = reference(network, data, calibration, test)
        print(f"{network} dense: {100 * accuracy(on.model, *on.test):.2f} % of {len(on.test[0])}")
        for point in points(on, asked(network, methods, keep)):
            results.forget(network=network, method=point.method, keep=point.keep)
            results.add(asdict(point))


MEASUREMENT = Measurement(
    measure, choices={"networks": NETWORKS, "methods": tuple(METHODS)}, threads=2
)

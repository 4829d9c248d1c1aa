"""Accuracy at equal milliseconds in ONNX Runtime, one thread: budgets in ms against others.

Every network is timed in turns with the dense one, twice, and the slower figure counts. Without
fine-tuning.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from tempfile import mkdtemp
from time import perf_counter

from torch import nn

import eckart
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.peers import PEERS, Compress
from benchmarks.peers.calibration import Calibration
from benchmarks.peers.ours import CHANNELS, WITHOUT_CP, moments_of, ours
from benchmarks.peers.quantised import OnnxSession, quantised
from benchmarks.subjects.data import CALIBRATION_IMAGES
from benchmarks.subjects.reference import NETWORKS, PERCEPTRONS, Reference, reference
from benchmarks.subjects.scoring import accuracy
from eckart.methods import Cache
from eckart.records.timings import Timings
from eckart.runtimes.pace import Pacer
from eckart.search.plan import Search
from eckart.search.timed import Timed, pacer_of, timed_network

MS = "ms"
LIMITS = (0.8, 0.65, 0.5)
ROUNDED, STATIC = "ms, 8 bits", "onnxruntime static"
ROUNDED_LIMITS = (0.43, 0.33, 0.25)
PREDICTED = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)
KNOBS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1)
FAMILIES: dict[str, Compress] = {
    "macs": ours(WITHOUT_CP, cost="macs"),
    "channels": ours(CHANNELS, cost="macs"),
    "torch_pruning_l2": PEERS["torch_pruning_l2"],
    "l2_channels": PEERS["l2_channels"],
}
_MEASUREMENTS, _HALVINGS = 2, 2


class Bench:
    """One network with all that its smaller ones are compared with."""

    def __init__(self, on: Reference, moments: eckart.Moments, timings: Timings) -> None:
        self.on, self.moments, self.timings = on, moments, timings
        self.pacer: Pacer = pacer_of(on.model, moments.example, timings)
        self.options = eckart.curves(on.model, moments, limits=[MS], progress=False)
        self.folder = Path(mkdtemp())
        self._shares: dict[tuple[str, float], tuple[float, nn.Module | None]] = {}

    def share(self, model: nn.Module) -> float:
        """The time of a network as a fraction of the dense one's: the slower of measurements."""
        pace = self.pacer.of(model)
        return max(pace().share for _ in range(_MEASUREMENTS))

    def score(self, model: nn.Module) -> Row:
        """The accuracy on all test images."""
        images, labels = self.on.test
        return {"accuracy": accuracy(model, images, labels), "images": len(images)}

    @cached_property
    def rounded(self) -> eckart.Curves:
        """What may be done where activations may have 8 bits."""
        return eckart.curves(
            self.on.model, self.moments, limits=[MS], activations=8, progress=False
        )

    def in_runtime(self, path: Path) -> Row:
        """The accuracy of a file in ONNX Runtime."""
        images, labels = self.on.test
        return {"accuracy": OnnxSession(path).accuracy(images, labels), "images": len(images)}

    def within_rounded(self, limit: float) -> Row:
        """The network of a budget in milliseconds where activations may have 8 bits."""
        found, row = self._found(limit, self.rounded)
        choices = found.applied.plan.choices.values()
        row |= {"in 8 bits": sum(bool(choice.form.activations) for choice in choices)}
        row |= {"simulated": self.score(found.applied.model)["accuracy"]}
        example = self.on.test[0][:2]
        path = eckart.export(found.applied.model, self.folder / "rounded.onnx", example)
        return row | self.in_runtime(path)

    def static(self) -> Row:
        """The dense network by ONNX Runtime's own static quantisation."""
        path = quantised(self.on.model, self.on.batches, self.folder)
        session, inputs = OnnxSession(path), self.pacer.inputs
        pace = self.pacer.beside(lambda: session(inputs))
        return {"share": max(pace().share for _ in range(_MEASUREMENTS))} | self.in_runtime(path)

    def planned(self, limit: float) -> Row:
        """What a plan should take, and what its network takes."""
        budget = eckart.Budget(ms=limit)
        plan = eckart.allocate(self.options, budget, timings=self.timings)
        model = eckart.apply(self.on.model, plan, self.moments)
        predicted = plan.costs[MS] / plan.totals[MS]
        return {"predicted": predicted, "measured": self.share(model)}

    def within(self, limit: float) -> Row:
        """The network of a budget in milliseconds."""
        found, row = self._found(limit, self.options)
        return row | self.score(found.applied.model)

    def _found(self, limit: float, options: eckart.Curves) -> tuple[Timed, Row]:
        budget, start = eckart.Budget(ms=limit), perf_counter()
        cache = Cache.beside(self.moments, options.states)
        search = Search(self.on.model, self.moments, None, budget, cache)
        found = timed_network(search, budget, options, self.timings)
        row: Row = {"share": found.pace.share, "built": found.built}
        row |= {"seconds": perf_counter() - start, "macs": _macs(found.applied.plan)}
        return found, row

    def largest(self, family: str, limit: float) -> Row | None:
        """The largest network of a family that takes no more than a limit; None if none does.

        The knob of the family is tried in steps, and between the last two of them.
        """
        slower = 1.0
        for knob in KNOBS:
            if self._at(family, knob)[0] <= limit:
                break
            slower = knob
        else:
            return None
        for _ in range(_HALVINGS):
            middle = (knob + slower) / 2
            if self._at(family, middle)[0] <= limit:
                knob = middle
            else:
                slower = middle
        share, model = self._at(family, knob)
        return None if model is None else {"knob": knob, "share": share} | self.score(model)

    def _at(self, family: str, knob: float) -> tuple[float, nn.Module | None]:
        """The share and the network of a family at a knob; infinite where it is out of reach."""
        if (family, knob) not in self._shares:
            try:
                model = FAMILIES[family](self.on.model, self._calibration, knob)
                self._shares[family, knob] = self.share(model), model
            except (ValueError, eckart.BudgetError):
                self._shares[family, knob] = float("inf"), None
            print(family, knob, self._shares[family, knob][0], flush=True)
        return self._shares[family, knob]

    @property
    def _calibration(self) -> Calibration:
        return self.on.calibration


def _macs(plan: eckart.Plan) -> float:
    return plan.costs["macs"] / plan.totals["macs"]


def profiled(on: Reference, moments: eckart.Moments, results: Results, batch: int) -> Timings:
    """The timings, made now, with a row on how long that took."""
    key: Row = {"network": on.network, "what": "profile"}
    start = perf_counter()
    timings = eckart.profile(
        on.model,
        moments,
        runtime="onnxruntime",
        batch=batch,
        threads=1,
        activations=8,
        progress=False,
    )
    counts = [len(found.inputs) * len(found.outputs) for found in timings.surfaces]
    terms = timings.terms
    results.forget(**key)
    results.add(
        key
        | {
            "seconds": perf_counter() - start,
            "kinds": len(counts),
            "layers": sum(counts),
            "dense_ms": timings.dense_ms,
            "noise": timings.noise,
            "machine": terms.machine,
            "versions": dict(terms.versions),
        }
    )
    return timings


def work(
    bench: Bench,
    families: Sequence[str],
    limits: Sequence[float],
    rounded_limits: Sequence[float] = ROUNDED_LIMITS,
) -> Iterator[tuple[Row, Callable[[], Row | None]]]:
    """Everything to measure, by what it is."""
    yield {"what": "dense"}, partial(bench.score, bench.on.model)
    for limit in PREDICTED:
        yield {"what": "planned", "limit": limit}, partial(bench.planned, limit)
    for limit in limits:
        yield {"what": "point", "family": MS, "limit": limit}, partial(bench.within, limit)
    yield {"what": "point", "family": STATIC}, bench.static
    for limit in rounded_limits:
        key = {"what": "point", "family": ROUNDED, "limit": limit}
        yield key, partial(bench.within_rounded, limit)
    for family, limit in itertools.product(families, limits):
        key = {"what": "point", "family": family, "limit": limit}
        yield key, partial(bench.largest, family, limit)


def measure(
    output: Path,
    data: Path | None = None,
    *,
    network: str = "resnet20",
    families: Sequence[str] = tuple(FAMILIES),
    limits: Sequence[float] = LIMITS,
    rounded_limits: Sequence[float] = ROUNDED_LIMITS,
    batch: int = 64,
    calibration: int = CALIBRATION_IMAGES,
    test: int = 0,
) -> None:
    """Measure what is not in the file yet. Budgets out of reach have a row without accuracy."""
    results, on = Results(output), reference(network, data, calibration, test)
    moments = moments_of(on.model, on.calibration)
    bench = Bench(on, moments, profiled(on, moments, results, batch))
    for named, row in work(bench, families, limits, rounded_limits):
        key = {"network": network} | named
        if not results.has(**key):
            try:
                results.add(key | (row() or {}))
            except eckart.BudgetError as error:
                results.add(key | {"not reachable": str(error)[:200]})


CHOICES = {"families": tuple(FAMILIES), "network": (*NETWORKS, *PERCEPTRONS)}
MEASUREMENT = Measurement(measure, choices=CHOICES, threads=1)

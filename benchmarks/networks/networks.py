"""Trained networks of many kinds, without fine-tuning: eckart beside plain and weighted SVD.

Every method keeps the same number of parameters of the whole network. Rows already in the results
are not measured again.
"""

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path

from torch import nn

import eckart
from benchmarks.measuring.clocks import timed
from benchmarks.measuring.counts import count_params
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.networks.characters import SUBJECTS as RECURRENT
from benchmarks.networks.images import SUBJECTS as IMAGES
from benchmarks.networks.sounds import SUBJECTS as SOUNDS
from benchmarks.networks.subject import Subject
from benchmarks.peers.ours import inputs_alone
from benchmarks.subjects.data import data_root
from eckart.errors import BudgetError
from eckart.stages.allocate import uniform

SUBJECTS: dict[str, Subject] = {**RECURRENT, **IMAGES, **SOUNDS}
METHODS = ("plain SVD", "activation-weighted SVD", "eckart")
KEEPS = (0.7, 0.5, 0.3)


class Calibrated:
    """A subject with its moments."""

    def __init__(self, subject: Subject, data: Path) -> None:
        """Of the data in a folder."""
        self.subject, self.data = subject, data
        self.network, self.score = subject.network(data), subject.score(data)

    @cached_property
    def moments(self) -> eckart.Moments:
        """Gathered once."""
        batches = self.subject.calibration(self.data)
        return eckart.calibrate(self.network, batches, metric=self.subject.metric, progress=False)

    @cached_property
    def curves(self) -> eckart.Curves:
        """By the default methods."""
        return eckart.curves(self.network, self.moments, progress=False)

    def compressed(self, method: str, keep: float) -> nn.Module:
        """With this share of the parameters.

        The two SVDs have the same share of every layer but tables, which they would ruin; the
        weighted one knows the inputs alone.
        """
        if method == "dense":
            return self.network
        budget = eckart.Budget(params=keep)
        if method == "eckart":
            return eckart.apply(self.network, eckart.allocate(self.curves, budget), self.moments)
        plain = method == "plain SVD"
        moments = self.moments if plain else inputs_alone(self.moments)
        name = "svd" if plain else "weighted_svd"
        options = eckart.curves(
            self.network, moments, methods=[name], dense=tables(self.network), progress=False
        )
        return eckart.apply(self.network, uniform(options, budget), moments)


def tables(network: nn.Module) -> list[str]:
    """The names of a network's tables."""
    return [name for name, m in network.named_modules() if isinstance(m, nn.Embedding)]


def measure(
    output: Path,
    data: Path | None = None,
    *,
    networks: Sequence[str] = tuple(SUBJECTS),
    methods: Sequence[str] = METHODS,
    keep: Sequence[float] = KEEPS,
) -> None:
    """Measure the rows that the results do not have yet."""
    results = Results(output)
    for name in networks:
        asked = [
            ("dense", 1.0),
            *((method, fraction) for method in methods for fraction in keep),
        ]
        missing = [
            (method, fraction)
            for method, fraction in asked
            if not results.has(network=name, method=method, keep=fraction)
        ]
        subject = Calibrated(SUBJECTS[name], data_root(data)) if missing else None
        for method, fraction in missing:
            if subject is not None:
                results.add({"network": name, **row_of(subject, method, fraction)})


def row_of(subject: Calibrated, method: str, keep: float) -> Row:
    """One network, compressed and scored; without a score where the budget is out of reach."""
    row = {"method": method, "keep": keep, "unit": subject.subject.unit}
    try:
        seconds, model = timed(partial(subject.compressed, method, keep))
    except BudgetError:
        return {**row, "params": None, "score": None}
    found = subject.score(model)
    row |= {"params": count_params(model), "score": found.value, "examples": found.n}
    return {**row, "seconds": round(seconds, 1)}


MEASUREMENT = Measurement(
    measure, choices={"networks": tuple(SUBJECTS), "methods": METHODS}, threads=1
)

"""The smallest ranks and networks within a tolerance, and how many evaluations they took."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import nn

from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.subjects.data import Labelled, batches
from benchmarks.subjects.reference import reference
from benchmarks.subjects.scoring import BATCH
from eckart import Score, accuracy, calibrate, compress, find_rank
from eckart.errors import NotMonotoneWarning
from eckart.records import ToleranceSearch
from eckart.scores import auc

TOLERANCES = (0.001, 0.005, 0.02)
SEARCHED = {"lenet5": ("conv2", "fc1"), "resnet20": ("layer2.0.conv2", "layer3.1.conv1")}
Batches = list[Labelled]


def record(
    network: str, what: str, metric: str, search: ToleranceSearch, before: Score, after: Score
) -> Row:
    """The figures of one search: on the set it chose on, and on the set it is reported on."""
    error = after.drop_error(before)
    return {
        "network": network,
        "searched": what,
        "metric": metric,
        "tolerance": search.tolerance,
        "rank": None if search.found is None else search.found.rank,
        "gap": search.gap,
        "n_chosen_on": search.dense_score.n,
        "dense_params": search.dense_params,
        "saved_fraction": search.saved_fraction,
        "evaluations": search.evaluations,
        "monotone": search.monotone,
        "drop": after.drop_from(before),
        "drop_error": error if error == error else None,
        "n": after.n,
    }


def searches(
    name: str, model: nn.Module, train: Batches, choose: Batches, test: Batches
) -> Iterator[Row]:
    """Single layers, by accuracy and by AUC, then the whole network by accuracy."""
    moments, report = calibrate(model, train), accuracy(test)
    before = report(model)
    for tolerance in TOLERANCES:
        for layer in SEARCHED[name]:
            for metric, judge in (("accuracy", accuracy(choose)), ("AUC", auc(choose))):
                found = find_rank(model, layer, judge, tolerance=tolerance, moments=moments)
                yield record(name, layer, metric, found.search, before, report(found.model))
        done = compress(
            model, moments, tolerance=tolerance, evaluate=accuracy(choose), report=report
        )
        if done.search is None or done.after is None:
            raise RuntimeError("a search under a tolerance ends without its record")
        yield record(name, "network", "accuracy", done.search, before, done.after)


def measure(
    output: Path,
    data: Path | None = None,
    *,
    networks: Sequence[str] = tuple(SEARCHED),
    choose: int = 1000,
    test: int = 4000,
) -> None:
    """Choose on the first test images, report on the next; rows of other networks stay."""
    warnings.simplefilter("ignore", NotMonotoneWarning)  # the records say it
    results = Results(output)
    for name in networks:
        on = reference(name, data, test=choose + test)
        images, labels = on.test
        first = batches((images[:choose], labels[:choose]), BATCH)
        rest = batches((images[choose:], labels[choose:]), BATCH)
        results.forget(network=name)
        for row in searches(name, on.model, batches(on.calibration, BATCH), first, rest):
            results.add(row)


MEASUREMENT = Measurement(measure, choices={"networks": tuple(SEARCHED)})

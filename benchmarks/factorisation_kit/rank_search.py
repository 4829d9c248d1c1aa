"""The smallest ranks and networks under a tolerance, and how many evaluations they took.

python -m benchmarks.factorisation_kit.rank_search --data ../data --output benchmarks/results/rank-search.json
"""

import argparse
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.subjects.data import cifar10, mnist
from benchmarks.subjects.networks import load_resnet, trained_lenet
from eckart import Score, accuracy, calibrate, compress, find_rank
from eckart.errors import NotMonotoneWarning
from eckart.records import ToleranceSearch
from eckart.scores import auc

TOLERANCES = (0.001, 0.005, 0.02)
SEARCHED = {"lenet": ("conv2", "fc1"), "resnet20": ("layer2.0.conv2", "layer3.1.conv1")}
CALIBRATION = 2000
Batches = list[tuple[Tensor, Tensor]]


def batches(images: Tensor, labels: Tensor) -> Batches:
    return list(zip(images.split(500), labels.split(500), strict=True))


def record(
    network: str, what: str, metric: str, search: ToleranceSearch, before: Score, after: Score
) -> dict[str, Any]:
    """One search in numbers: on the set it chose on, then on the one it is reported on."""
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
) -> Iterator[dict[str, Any]]:
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
        yield record(name, "network", "accuracy", done.search, done.before, done.after)


def main() -> None:
    parser = argparse.ArgumentParser(description="Searches under a tolerance")
    parser.add_argument("--data", type=Path, help="default: ECKART_DATA")
    parser.add_argument("--choose", type=int, default=2000, help="first test images, to choose on")
    parser.add_argument("--test", type=int, default=8000, help="those after, to report on")
    parser.add_argument("--networks", nargs="+", default=list(SEARCHED), choices=list(SEARCHED))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", NotMonotoneWarning)  # the records say it
    results = []
    for name in arguments.networks:
        load, read = (trained_lenet, mnist) if name == "lenet" else (load_resnet, cifar10)
        images, labels = read(arguments.data, "train")
        train = batches(images[:CALIBRATION], labels[:CALIBRATION])
        images, labels = read(arguments.data, "test")
        cut, end = arguments.choose, arguments.choose + arguments.test
        choose = batches(images[:cut], labels[:cut])
        test = batches(images[cut:end], labels[cut:end])
        for row in searches(name, load(arguments.data), train, choose, test):
            results.append(row)
            print(json.dumps(row), flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

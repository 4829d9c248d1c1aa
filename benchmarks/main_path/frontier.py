"""Every peer at every budget: accuracy, parameters, MACs and time, as JSON and a table.

python -m benchmarks.main_path.frontier --data ../data --network resnet20 --keep 0.5 0.3
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.measuring.counts import count_macs, count_params
from benchmarks.peers import PEERS
from benchmarks.peers.calibration import Calibration
from benchmarks.peers.ours import OURS
from benchmarks.subjects.data import cifar10, mnist
from benchmarks.subjects.networks import accuracy, load_resnet, trained_lenet

KEEPS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
RESULTS = Path("benchmarks/results")
METHODS = OURS | PEERS
Labelled = tuple[Tensor, Tensor]


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


@dataclass(frozen=True)
class Setting:
    """A trained network with what it is calibrated and scored on."""

    network: str
    model: nn.Module
    calibration: Calibration
    test: Labelled


def setting(network: str, data: Path | None, calibration: int, test: int) -> Setting:
    """The first `calibration` training images and the first `test` test images (0: all)."""
    read, model = _network(network, data)
    train_images, train_labels = read(data, "train")
    test_images, test_labels = read(data, "test")
    end = test or len(test_images)
    return Setting(
        network,
        model,
        (train_images[:calibration].clone(), train_labels[:calibration].clone()),
        (test_images[:end], test_labels[:end]),
    )


def _network(name: str, data: Path | None) -> tuple[Callable[..., Labelled], nn.Module]:
    if name == "lenet5":
        return mnist, trained_lenet(data)
    return cifar10, load_resnet(data, int(name.removeprefix("resnet")))


def points(on: Setting, methods: list[str], keeps: list[float]) -> Iterator[Point]:
    """One `Point` for each method and budget; a budget that cannot be reached gives none."""
    example = on.calibration[0][:1]
    dense_params, dense_macs = count_params(on.model), count_macs(on.model, example)
    for method in methods:
        for keep in keeps:
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


def kept_rows(path: Path, methods: list[str], keeps: list[float]) -> list[dict[str, object]]:
    """What the results hold of methods and budgets that are not measured now."""
    rows = json.loads(path.read_text()) if path.exists() else []
    return [row for row in rows if row["method"] not in methods or row["keep"] not in keeps]


def main() -> None:
    parser = argparse.ArgumentParser(description="Side by side with peers")
    parser.add_argument("--data", type=Path, help="data folder; default ECKART_DATA")
    parser.add_argument("--network", default="resnet20", choices=["resnet20", "resnet32", "lenet5"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--keep", nargs="+", type=float, default=list(KEEPS))
    parser.add_argument("--calibration", type=int, default=2000, help="calibration images")
    parser.add_argument("--test", type=int, default=0, help="test images; 0 for all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--output", type=Path, help="JSON; default benchmarks/results/<network>.json"
    )
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    on = setting(arguments.network, arguments.data, arguments.calibration, arguments.test)
    print(f"{on.network} dense: {100 * accuracy(on.model, *on.test):.2f} % of {len(on.test[0])}")
    output = arguments.output or RESULTS / f"{on.network}.json"
    found = kept_rows(output, arguments.methods, arguments.keep)
    for point in points(on, arguments.methods, arguments.keep):
        found.append(asdict(point))
        output.write_text(json.dumps(found, indent=1) + "\n")
        print(
            f"{point.method:22} {point.keep:5.2f}  {100 * point.accuracy:5.1f} %"
            f"  params {point.params:.3f}  MACs {point.macs:.3f}  {point.seconds:6.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()

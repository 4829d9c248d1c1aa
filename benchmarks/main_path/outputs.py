"""Networks with several outputs, or without classes: the error of each head by output metric."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import eckart
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results
from benchmarks.subjects.outputs import SUBJECTS, Subject

DEFAULT = "default"
KEEPS = (0.4, 0.25)
LEAST = 1e-6  # the weight of what does not count: a layer without gradients would stay dense


class Centred:
    """The first output without the mean of its entries, as if a softmax followed."""

    def __call__(self, outputs: Any, batch: Any, generator: torch.Generator) -> Tensor:
        """``Σ v z``, with ``v`` centred over axis 1."""
        first = next(iter(outputs.values()))
        v = torch.randn(first.shape, generator=generator)
        total: Tensor = (first * (v - v.mean(1, keepdim=True))).sum()
        return total


def metrics_of(heads: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What calibration is asked for, by the metric's name."""
    yield DEFAULT, {}
    yield "first, mean removed", {"metric": Centred()}
    if len(heads) > 1:
        yield "sum, not scaled", {"metric": eckart.Outputs(scales=dict.fromkeys(heads, 1.0))}
        for head in heads:
            yield f"{head} alone", {"outputs": {head: 1.0, "*": LEAST}}
        yield f"{heads[0]} counts tenfold", {"outputs": {heads[0]: 10.0, "*": 1.0}}


@torch.no_grad()
def errors(smaller: torch.nn.Module, on: Subject) -> Mapping[str, float]:
    """The error of each head relative to its distance from the mean, on the test inputs."""
    before, after = on.model(on.test), smaller(on.test)
    return {
        name: float((after[name] - z).norm() / (z - z.mean(0)).norm()) for name, z in before.items()
    }


def measure(output: Path, *, networks: Sequence[str] = tuple(SUBJECTS), seeds: int = 2) -> None:
    """Measure the requested networks again; other rows stay. Each seed trains another network."""
    results = Results(output)
    for network in networks:
        results.forget(network=network)
        for seed in range(seeds):
            torch.manual_seed(seed)
            on = SUBJECTS[network]()
            for metric, how in metrics_of([*on.model(on.test[:1])]):
                for keep in KEEPS:
                    done = eckart.compress(
                        on.model, on.inputs.split(128), keep=keep, progress=False, **how
                    )
                    rows = errors(done.model, on).items()
                    row = {"network": network, "seed": seed, "metric": metric, "keep": keep}
                    found = [{"head": head, "error": round(e, 5)} for head, e in rows]
                    results.add(*(row | each | {"examples": len(on.test)} for each in found))


MEASUREMENT = Measurement(measure, choices={"networks": tuple(SUBJECTS)})

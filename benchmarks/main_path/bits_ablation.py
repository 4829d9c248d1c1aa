"""ResNet-20 in codes: what each part of the rounding is worth, and how far losses are known before.

All layers have one width. Losses are also those under the moments of images that did not calibrate.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

from torch import Tensor, nn

import eckart
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.peers.rounding import by_size
from benchmarks.subjects.data import batches, cifar10
from benchmarks.subjects.trained import load_resnet
from eckart.linalg import damped, quadratic_loss
from eckart.linalg.rounding import Triangle, choose_grid, round_weight, stored_bytes, triangle
from eckart.methods import Problem, problem_of
from eckart.moments.shrinkage import shrinkage_of

IMAGES, ELSEWHERE = 2_000, 2_000  # that calibrate, and that losses are held against
ORDERS: Mapping[str, Callable[[Tensor], Triangle]] = {
    "the least pivot first": triangle,
    "as given": partial(triangle, ordered=False),
    "the least mean square first": by_size,
}


@dataclass(frozen=True)
class Way:
    """How all layers are rounded.

    Attributes:
        bits: of a code.
        sides: whether errors are passed on under A, and under G.
        damping: of both moments, relative to their mean diagonals.
        order: of rows and columns, see ``ORDERS``.
        span: inputs that share a scale.
        images: that calibrate.
    """

    bits: int = 4
    sides: tuple[bool, bool] = (True, True)
    damping: float = 1e-2
    order: str = "the least pivot first"
    span: int | None = None
    images: int = IMAGES


FACTORS: Mapping[str, Mapping[str, Way]] = {
    "width": {f"{bits} bits": Way(bits) for bits in (2, 3, 4, 5, 6, 8)},
    "sides": {
        "both": Way(),
        "inputs": Way(sides=(True, False)),
        "outputs": Way(sides=(False, True)),
        "none": Way(sides=(False, False)),
    },
    "damping": {f"{value:g}": Way(damping=value) for value in (1e-4, 1e-3, 1e-2, 0.1, 1.0)},
    "order": {order: Way(order=order) for order in ORDERS},
    "span": {str(span or "a row"): Way(span=span) for span in (None, 64, 32, 16)},
    "images": {f"{count:,}": Way(images=count) for count in (100, 500, IMAGES)},
    "images, inputs": {
        f"{count:,}": Way(images=count, sides=(True, False)) for count in (100, 500, IMAGES)
    },
}


def problems(model: nn.Module, moments: eckart.Moments, shrunk: bool) -> Iterator[Problem]:
    """Those of all layers, with moments as `curves` has them or as they were summed."""
    for name in moments.specs:
        how = shrinkage_of(moments, name) if shrunk else None
        yield problem_of(model.get_submodule(name), name, moments, shrinkage=how)


def losses(way: Way, problem: Problem, elsewhere: Problem) -> tuple[float, float, float, int]:
    """Before rounding, after it, under other moments; and bytes."""
    a, g = (
        ORDERS[way.order](damped(moment, way.damping)) if used else None
        for moment, used in zip((problem.a, problem.g), way.sides, strict=True)
    )
    choice = choose_grid(problem.weight, way.bits, way.span, a=a, g=g)
    found = round_weight(problem.weight, choice.grid, a=a, g=g)
    error = problem.weight - found.weight.double()
    groups, rows, inputs = problem.weight.shape
    size = stored_bytes(groups * rows, inputs, way.bits, way.span)
    return choice.loss, found.loss, quadratic_loss(error, elsewhere.a, elsewhere.g), size


def row_of(way: Way, of: Sequence[tuple[Problem, Problem]]) -> Row:
    """All layers by one way."""
    before, after, there, size = zip(*(losses(way, *pair) for pair in of), strict=True)
    ratios = sorted(p / r for p, r in zip(before, after, strict=True))
    return {
        "predicted": sum(before),
        "rounded": sum(after),
        "elsewhere": sum(there),
        "ratios": [ratios[0], median(ratios), ratios[-1]],
        "bits per weight": 8 * sum(size) / sum(own.weight.numel() for own, _ in of),
    }


def measure(
    output: Path,
    data: Path | None = None,
    *,
    factors: Sequence[str] = tuple(FACTORS),
    bits: Sequence[int] = (4, 3),
) -> None:
    """Measure the rows that the results do not have yet."""
    results, model = Results(output), load_resnet(data)
    images, labels = cifar10(data)
    held = images[-ELSEWHERE:], labels[-ELSEWHERE:]
    calibrate = partial(eckart.calibrate, model, progress=False)
    other = list(problems(model, calibrate(batches(held)), shrunk=False))
    known: dict[int, list[tuple[Problem, Problem]]] = {}
    for factor in factors:
        for setting, way in FACTORS[factor].items():
            for width in (way.bits,) if factor == "width" else bits:
                key: Row = {"factor": factor, "setting": setting, "bits": width}
                if results.has(**key):
                    continue
                if way.images not in known:
                    some = images[: way.images], labels[: way.images]
                    own = problems(model, calibrate(batches(some)), shrunk=True)
                    known[way.images] = list(zip(own, other, strict=True))
                results.add(key | row_of(replace(way, bits=width), known[way.images]))


MEASUREMENT = Measurement(measure, choices={"factors": FACTORS}, threads=1)

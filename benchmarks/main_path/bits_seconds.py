"""ResNet-20 in codes: seconds to predict all widths, to plan a budget, and to round.

With one thread they are seconds of the processor, the least of a few rounds. Calibration, and the
prices of removed channels, are left out.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from torch import nn

import eckart
from benchmarks.measuring.clocks import fair_clock, timed
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.subjects.data import CALIBRATION_IMAGES
from benchmarks.subjects.reference import reference
from eckart.linalg import damped
from eckart.linalg.rounding import choose_grid, round_weight, triangle, width_losses
from eckart.methods import Problem, problem_of

WIDTHS = (2, 3, 4, 5, 6, 8)
_DAMPING = 1e-2


def problems_of(model: nn.Module, moments: eckart.Moments) -> list[Problem]:
    """Those of all layers, whose moments are read already."""
    modules = dict(model.named_modules())
    found = [problem_of(modules[name], name, moments) for name in moments.specs]
    for problem in found:
        _ = problem.weight, problem.a, problem.g
    return found


def predicted(problems: Sequence[Problem]) -> None:
    """The losses of all widths, from the moments."""
    for problem in problems:
        a, g = (triangle(damped(moment, _DAMPING)) for moment in (problem.a, problem.g))
        width_losses(problem.weight, a, g, bits=WIDTHS)


def rounded(problems: Sequence[Problem], bits: int) -> None:
    """All layers in codes of one width, from the moments."""
    for problem in problems:
        a, g = (triangle(damped(moment, _DAMPING)) for moment in (problem.a, problem.g))
        grid = choose_grid(problem.weight, bits, a=a, g=g).grid
        round_weight(problem.weight, grid, a=a, g=g)


def measure(
    output: Path,
    data: Path | None = None,
    *,
    calibration: int = CALIBRATION_IMAGES,
    limit: float = 0.125,
    rounds: int = 3,
) -> None:
    """Measure everything again."""
    on = reference("resnet20", data, calibration, 1)
    moments = eckart.calibrate(on.model, on.batches, progress=False)
    problems, budget = problems_of(on.model, moments), eckart.Budget(bytes=limit)
    curves = eckart.curves(on.model, moments, methods=("rounding",), progress=False)
    runs: dict[str, Callable[[], object]] = {
        "all widths predicted": partial(predicted, problems),
        "a budget planned": partial(eckart.allocate, curves, budget),
        "all layers rounded to 4 bits": partial(rounded, problems, 4),
    }
    results, clock = Results(output), fair_clock()
    for what, run in runs.items():
        results.forget(what=what)
        seconds = min(timed(run, clock)[0] for _ in range(rounds))
        row: Row = {"what": what, "network": "resnet20", "seconds": seconds, "rounds": rounds}
        results.add(row)


MEASUREMENT = Measurement(measure, threads=1)

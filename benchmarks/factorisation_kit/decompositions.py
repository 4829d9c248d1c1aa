"""Three decompositions against LAPACK and the full curve, in float64 on one thread.

All ranks of a layer by the smaller Gram matrix; weighted components without roots of the moments;
the largest eigenvalue between proven bounds.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measuring.clocks import timed
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import write_json
from eckart.linalg import (
    largest_eigenvalue,
    output_projection,
    quadratic_loss,
    truncated_svd,
    weighted_components,
)

SHAPES = ((16, 27), (64, 576), (256, 256), (512, 512), (512, 4608), (1000, 1000))
COMPONENTS, EIGENVALUES = (256, 512, 1024), (256, 512, 1024, 2048)
LEAST = 0.2  # seconds that a measurement lasts
Row = dict[str, float]


def milliseconds(run: Callable[[], object]) -> float:
    """CPU time of one call: the median of the calls that fit into `LEAST`, at least three."""
    run()
    found: list[float] = []
    end = time.perf_counter() + LEAST
    while len(found) < 3 or time.perf_counter() < end:
        found.append(1000 * timed(run, time.process_time)[0])
    return statistics.median(found)


def moment(n: int) -> Tensor:
    """Second moments of inputs whose scales spread over two orders of magnitude."""
    rows = torch.randn(4 * n, n, dtype=torch.float64) * torch.logspace(0, -2, n)
    mixed: Tensor = rows @ torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0]
    return mixed.mT @ mixed / len(mixed)


def all_ranks(out: int, inputs: int) -> Row:
    """The whole decomposition of a layer."""
    weight = torch.randn(out, inputs, dtype=torch.float64)
    direct = torch.linalg.svdvals(weight).square()
    tails = 0.5 * direct.flip(0).cumsum(0).flip(0)
    losses = truncated_svd(weight[None]).losses[:-1]
    return {
        "out": out,
        "inputs": inputs,
        "lapack_ms": milliseconds(lambda: torch.linalg.svd(weight, full_matrices=False)),
        "gram_ms": milliseconds(lambda: truncated_svd(weight[None])),
        "apart": float((losses - tails).abs().max() / tails[0]),
    }


def components(n: int) -> Row:
    """One rank of a layer against the curve of all ranks."""
    weight, a, g = torch.randn(n, n, dtype=torch.float64) / n**0.5, moment(n), moment(n)
    rank = n // 16
    generator = torch.Generator().manual_seed(0)
    found = weighted_components(weight, a, g, rank, generator=generator)
    stacked = weight[None], a[None], g[None]
    best = output_projection(*stacked).losses[rank]
    return {
        "n": n,
        "components_ms": milliseconds(lambda: weighted_components(weight, a, g, rank)),
        "curve_ms": milliseconds(lambda: output_projection(*stacked)),
        "over": quadratic_loss(weight - found.left @ found.right, a, g) / float(best),
    }


def eigenvalue(n: int) -> Row:
    """The largest eigenvalue to 10⁻⁶."""
    a = moment(n)
    found = largest_eigenvalue(a)
    true = float(torch.linalg.eigvalsh(a)[-1])
    return {
        "n": n,
        "ours_ms": milliseconds(lambda: largest_eigenvalue(a)),
        "products": found.products,
        "eigvalsh_ms": milliseconds(lambda: torch.linalg.eigvalsh(a)),
        "eigh_ms": milliseconds(lambda: torch.linalg.eigh(a)),
        "apart": found.lower / true - 1,
    }


def measure(
    output: Path,
    seed: int = 0,
    *,
    layers: Sequence[int] = tuple(range(len(SHAPES))),
    sizes: Sequence[int] = COMPONENTS,
    moments: Sequence[int] = EIGENVALUES,
) -> None:
    """Measure layers by their index among the shapes, and square matrices by their size."""
    torch.manual_seed(seed)
    report = {
        "ranks": [all_ranks(*SHAPES[i]) for i in layers],
        "components": [components(n) for n in sizes],
        "eigenvalues": [eigenvalue(n) for n in moments],
    }
    print(report)
    write_json(report, output)


MEASUREMENT = Measurement(measure)

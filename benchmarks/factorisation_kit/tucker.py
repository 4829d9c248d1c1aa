"""Tucker-2 of a 512×512×3×3 kernel, ours and TensorLy's: error and seconds at equal ranks."""

import os
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import tensorly
import torch
from tensorly.decomposition import partial_tucker
from torch import Tensor

from benchmarks.measuring.clocks import fair_clock, timed
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import write_json
from eckart.linalg import tucker2

ROUNDS, SIDE = 5, 512


def flat() -> Tensor:
    """Like a layer before training: no direction is more important than another."""
    return torch.nn.Conv2d(SIDE, SIDE, 3).weight.detach()


def decaying() -> Tensor:
    """Channels whose scale falls as i^-0.5, in random bases, at both ends."""
    scale = torch.arange(1, SIDE + 1).pow(-0.5)
    left, right = (torch.linalg.qr(torch.randn(SIDE, SIDE))[0] * scale for _ in range(2))
    core = torch.randn(SIDE, SIDE, 3, 3)
    return torch.einsum("os,srhw,cr->ochw", left, core, right)


def ours(kernel: Tensor, rank: int, tolerance: float) -> Tensor:
    found = tucker2(kernel, rank, rank, tolerance=tolerance)
    return torch.einsum("os,srhw,rc->ochw", found.left, found.core, found.right)


def theirs(kernel: Tensor, rank: int, tolerance: float) -> Tensor:
    with tensorly.backend_context("pytorch"):
        (core, (left, right)), _ = partial_tucker(
            kernel, [rank, rank], modes=[0, 1], n_iter_max=20, init="svd", tol=tolerance
        )
    return torch.einsum("os,srhw,cr->ochw", left, core, right)


CONTESTANTS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "eckart": lambda kernel, rank: ours(kernel, rank, 1e-4),
    "tensorly, 20 iterations, tol 1e-4": lambda kernel, rank: theirs(kernel, rank, 1e-4),
    "eckart, all 20 sweeps": lambda kernel, rank: ours(kernel, rank, -1.0),
    "tensorly, all 20 iterations": lambda kernel, rank: theirs(kernel, rank, 0.0),
}


def compare(kernel: Tensor, rank: int, rounds: int) -> dict[str, dict[str, float]]:
    """Run all contestants in turn, several times, so that a slow machine affects all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    errors = {}
    for _ in range(rounds):
        for name, run in CONTESTANTS.items():
            took, found = timed(partial(run, kernel, rank), fair_clock())
            seconds[name].append(took)
            errors[name] = float((kernel - found).double().norm() / kernel.double().norm())
            print(f"  {name}: {took:.2f} s, {errors[name]:.6f}", flush=True)
    return {
        name: {"seconds": statistics.median(seconds[name]), "error": errors[name]}
        for name in CONTESTANTS
    }


def measure(
    output: Path, seed: int = 0, *, rounds: int = ROUNDS, ranks: Sequence[int] = (64, 128, 256)
) -> None:
    """Measure both kernels at every rank."""
    torch.manual_seed(seed)
    cases = {}
    for name, kernel in {"flat": flat(), "decaying": decaying()}.items():
        for rank in ranks:
            case = f"{name}, {rank} of {SIDE} channels"
            print(case, flush=True)
            cases[case] = compare(kernel, rank, rounds)
            first, second, *_ = cases[case].values()
            print(f"  {second['seconds'] / first['seconds']:.1f} times faster", flush=True)
    result = {"threads": torch.get_num_threads(), "load": os.getloadavg()[0], "cases": cases}
    write_json(result, output)


MEASUREMENT = Measurement(measure, threads=2)

"""Error against seconds: truncated decompositions of four matrices, ours and four peers'."""

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import scipy.sparse.linalg
import sklearn.utils.extmath
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.measuring.clocks import fair_clock, timed
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import write_json
from eckart.linalg import randomized_svd

ROUNDS, SLOW_S = 5, 4.0  # a contestant that takes longer runs once
GOOD = 1.01  # of the least error that its rank allows
Triple = tuple[Tensor, Tensor, Tensor]
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    name: str
    matrix: Tensor
    rank: int
    optimum: float  # the least Frobenius error


def flat(size: int, rank: int) -> Case:
    """Xavier-uniform, like a layer before training."""
    matrix = torch.empty(size, size)
    torch.nn.init.xavier_uniform_(matrix)
    values = torch.linalg.svdvals(matrix.double())
    name = f"{size}×{size} Xavier-uniform"
    return Case(name, matrix, rank, float(values[rank:].norm()))


def power_law(m: int, n: int, rank: int, exponent: float) -> Case:
    """Singular values i^-exponent between random orthonormal bases."""
    short = min(m, n)
    left, right = (torch.linalg.qr(torch.randn(side, short))[0] for side in (m, n))
    values = torch.arange(1, short + 1, dtype=torch.float64).pow(-exponent)
    matrix = (left * values.float()) @ right.mT
    return Case(f"{m}×{n}, i^-{exponent:g}", matrix, rank, float(values[rank:].norm()))


def by_eckart(case: Case, iterations: int | None = None) -> Triple:
    if iterations is None:
        U, S, Vh, *_ = randomized_svd(case.matrix, case.rank)
    else:
        U, S, Vh, *_ = randomized_svd(case.matrix, case.rank, power_iterations=iterations)
    return U, S, Vh


def by_torch(case: Case, q: int, niter: int) -> Triple:
    U, S, V = torch.svd_lowrank(case.matrix, q=q, niter=niter)
    return U[:, : case.rank], S[: case.rank], V[:, : case.rank].mT


def by_sklearn(case: Case, extra: int, niter: int) -> Triple:
    return tensors(
        *sklearn.utils.extmath.randomized_svd(
            case.matrix.numpy(), case.rank, n_oversamples=extra, n_iter=niter, random_state=0
        )
    )


def by_scipy(case: Case) -> Triple:
    return tensors(*scipy.sparse.linalg.svds(case.matrix.numpy(), k=case.rank, rng=0))


def tensors(left: Array, values: Array, right: Array) -> Triple:
    """The result of a numpy library as tensors."""
    U, S, Vh = (torch.from_numpy(np.ascontiguousarray(part)) for part in (left, values, right))
    return U, S, Vh


def in_full(case: Case) -> Triple:
    U, S, Vh = torch.linalg.svd(case.matrix, full_matrices=False)
    return U[:, : case.rank], S[: case.rank], Vh[: case.rank]


def contestants(case: Case) -> dict[str, Callable[[], Triple]]:
    """Runs by name. Oversampling 10 is every library's default; half the rank helps the peers."""
    rank, half = case.rank, case.rank // 2
    runs: dict[str, Callable[[], Triple]] = {
        "eckart": partial(by_eckart, case),
        "torch.linalg.svd": partial(in_full, case),
        "scipy svds": partial(by_scipy, case),
    }
    for q in (1, 2, 3, 4):
        runs[f"eckart, {q} iterations"] = partial(by_eckart, case, q)
        runs[f"torch.svd_lowrank, {q} iterations"] = partial(by_torch, case, rank + 10, q)
        runs[f"sklearn, {q} iterations"] = partial(by_sklearn, case, 10, q)
    for q in (1, 2):
        more = f"{q} iterations, half as many more"
        runs[f"torch.svd_lowrank, {more}"] = partial(by_torch, case, rank + half, q)
        runs[f"sklearn, {more}"] = partial(by_sklearn, case, half, q)
    return runs


def compare(case: Case, rounds: int) -> dict[str, object]:
    """Run all contestants in turn, several times, so that a slow machine affects all alike."""
    runs = contestants(case)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    errors = dict.fromkeys(runs, 0.0)
    for _ in range(rounds):
        for name, run in runs.items():
            if seconds[name] and seconds[name][0] > SLOW_S:
                continue
            took, error = once(case, run)
            seconds[name].append(took)
            errors[name] = max(errors[name], error)
            print(f"{case.name}  {name}: {took:.3f} s, {errors[name]:.4f}", flush=True)
    rows = {
        name: {
            "seconds": statistics.median(seconds[name]),
            "least_seconds": min(seconds[name]),
            "error_over_optimum": errors[name],
        }
        for name in runs
    }
    return {"rank": case.rank, "rows": rows, **verdict(rows)}


def once(case: Case, run: Callable[[], Triple]) -> tuple[float, float]:
    """Seconds of one run, and its error relative to the least."""
    took, (U, S, Vh) = timed(run, fair_clock())
    if took < SLOW_S:  # threads of the previous library may still have been spinning
        took, (U, S, Vh) = timed(run, fair_clock())
    residual = torch.addmm(case.matrix, U * S, Vh, alpha=-1).double().norm()
    return took, float(residual) / case.optimum


def verdict(rows: dict[str, dict[str, float]]) -> dict[str, object]:
    """Our default against the fastest peer with a small enough error."""
    good = {n: r["seconds"] for n, r in rows.items() if r["error_over_optimum"] <= GOOD}
    peers = {name: s for name, s in good.items() if not name.startswith("eckart")}
    best = min(peers, key=lambda name: peers[name])
    return {"best_peer": best, "times_faster": peers[best] / rows["eckart"]["seconds"]}


CASES: dict[str, tuple[Callable[[], Case], ...]] = {
    "flat": (partial(flat, 1000, 500),),
    "2048": tuple(partial(power_law, 2048, 2048, 200, exponent) for exponent in (1, 0.5)),
    "4096": tuple(partial(power_law, 4096, 4096, 400, exponent) for exponent in (1, 0.5)),
    "11008": (partial(power_law, 4096, 11008, 400, 1),),
}


def measure(
    output: Path, seed: int = 0, *, rounds: int = ROUNDS, cases: Sequence[str] = tuple(CASES)
) -> None:
    """Run all contestants on some of the matrices."""
    torch.manual_seed(seed)
    found: dict[str, dict[str, object]] = {}
    for make in (make for name in cases for make in CASES[name]):
        case = make()
        found[case.name] = compare(case, rounds)
        print(case.name, found[case.name]["best_peer"], found[case.name]["times_faster"])
        result = {"threads": torch.get_num_threads(), "load": os.getloadavg()[0], "cases": found}
        write_json(result, output)


MEASUREMENT = Measurement(measure, choices={"cases": tuple(CASES)}, threads=2)

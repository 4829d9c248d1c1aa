"""The group lasso beside its peers: one penalty, a path, and the course's timing problem."""

import math
import os
import statistics
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import eckart
from benchmarks.channels.optimality import Judge
from benchmarks.measuring.clocks import timed
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.operations import Operations
from benchmarks.measuring.results_file import Row, write_json
from benchmarks.peers import group_lasso as peers
from benchmarks.subjects.data import CALIBRATION_IMAGES, batches, first, mnist
from benchmarks.subjects.trained import trained_lenet
from eckart.linalg import (
    History,
    alpha_max,
    alternating_minimisation,
    fista,
    group_lasso,
    group_lasso_path,
)

TOL, RATIO, PENALTIES, ROUNDS = 1e-6, 0.01, 50, 7
LAYERS = ("fc1", "fc2")
POINTS = (10, 25, 40)  # places on the path at which peers are timed


def dgemm_gflops(n: int = 800) -> float:
    """The rate of a float64 product of square matrices on this machine, now."""
    a = torch.randn(n, n, dtype=torch.float64)
    times = [timed(lambda: a @ a)[0] for _ in range(20)]
    return 2 * n**3 / min(times) / 1e9


def ours(run: Callable[[], Any], rate: float) -> Row:
    """Median and least time, operations, and the fraction of the rate of dgemm reached."""
    run()
    times = [timed(run)[0] for _ in range(ROUNDS)]
    with Operations() as operations:
        run()
    gflop = operations.total / 1e9
    return {
        "seconds": statistics.median(times),
        "least_seconds": min(times),
        "gflop": gflop,
        "gflop_by_call": {k: v / 1e9 for k, v in sorted(operations.counts.items())},
        "seconds_at_dgemm_rate": gflop / rate,
        "fraction_of_dgemm_rate": gflop / min(times) / rate,
    }


def taught(run: Callable[[], History], judge: Judge) -> Row:
    """A method of the course, timed to its own stopping rule and to a known optimum."""
    elapsed, history = timed(run)
    close = [judge.excess(loss) <= TOL for loss in history.losses]
    first = next((i + 1 for i, good in enumerate(close) if all(close[i : i + 10])), None)
    return {
        "seconds": elapsed,
        "iterations": history.iterations,
        "excess": judge.excess(history.losses[-1]),
        "seconds_to_tolerance": None if first is None else elapsed * first / history.iterations,
    }


def single(gram: Tensor, cross: Tensor, rate: float) -> Row:
    """All solvers at one penalty."""
    alpha = RATIO * alpha_max(gram, cross)
    judge = Judge(gram, cross, alpha)
    found = group_lasso(gram, cross, alpha, tol=TOL)
    mine = ours(lambda: group_lasso(gram, cross, alpha, tol=TOL), rate)
    mine |= {"gap": found.gap, "kept": len(found.support), "newton_steps": found.iterations}
    report: Row = {"alpha": alpha, "eckart": mine}
    report["fista"] = taught(lambda: fista(gram, cross, alpha), judge)
    report["alternating"] = taught(lambda: alternating_minimisation(gram, cross, alpha), judge)
    elapsed, m = timed(lambda: peers.working_set_fista(gram, cross, alpha, tol=1e-4))
    report["working_set_fista"] = {"seconds": elapsed, "excess": judge.excess(judge.objective(m))}
    problem = peers.regression(gram, cross)
    elapsed, m = timed(lambda: peers.skglm(problem, alpha, tol=1e-3))
    report["skglm"] = {"seconds": elapsed, "excess": judge.excess(judge.objective(m))}
    best = min(
        r.get("seconds_to_tolerance") or r["seconds"]
        for r in (report["fista"], report["alternating"], report["skglm"])
    )
    report["best_of_three_seconds"] = best
    report["times_faster"] = best / mine["seconds"]
    return report


def to_gap(run: Callable[..., History], judge: Judge, first: int) -> Row:
    """The fewest iterations, within a fifth, that bring the certified gap to the tolerance."""
    most = first
    elapsed, history = timed(partial(run, max_iterations=most))
    while judge.gap(history.solution) > TOL:
        most *= 2
        elapsed, history = timed(partial(run, max_iterations=most))
    least, good = most // 2, (most, elapsed)
    while good[0] > 1.2 * least:
        middle = int((least * good[0]) ** 0.5)
        elapsed, history = timed(partial(run, max_iterations=middle))
        if judge.gap(history.solution) <= TOL:
            good = (middle, elapsed)
        else:
            least = middle
    return {"iterations": good[0], "seconds": good[1]}


def stopped_by_gap(gram: Tensor, cross: Tensor, rate: float, skglm_tol: float) -> Row:
    """Every solver, stopped as if it knew when its certified gap is within the tolerance."""
    alpha = RATIO * alpha_max(gram, cross)
    judge = Judge(gram, cross, alpha)
    report: Row = {"eckart": ours(lambda: group_lasso(gram, cross, alpha, tol=TOL), rate)}
    report["alternating"] = to_gap(
        partial(alternating_minimisation, gram, cross, alpha), judge, 100
    )
    problem = peers.regression(gram, cross)
    elapsed, m = timed(lambda: peers.skglm(problem, alpha, tol=skglm_tol))
    report["skglm"] = {"seconds": elapsed, "gap": judge.gap(m), "tol": skglm_tol}
    print(report["skglm"], flush=True)
    report["fista"] = to_gap(partial(fista, gram, cross, alpha), judge, 500)
    best = min(report[name]["seconds"] for name in ("alternating", "skglm", "fista"))
    report["times_faster"] = best / report["eckart"]["seconds"]
    return report


def path(gram: Tensor, cross: Tensor, rate: float) -> Row:
    """Fifty penalties; peers run at some, each from the exact solution of the one before."""
    found = group_lasso_path(gram, cross, n_alphas=PENALTIES, alpha_min_ratio=RATIO, tol=TOL)
    run = lambda: group_lasso_path(gram, cross, n_alphas=PENALTIES, alpha_min_ratio=RATIO, tol=TOL)  # noqa: E731
    mine = ours(run, rate)
    mine["gap"] = max(result.gap for result in found.results)
    mine["newton_steps"] = sum(result.iterations for result in found.results)
    report: Row = {"eckart": mine, "points": POINTS}
    problem = peers.regression(gram, cross)
    for name, solver, tol in (("skglm", peers.skglm, 1e-3), ("sklearn", peers.sklearn, TOL / 2)):
        rows = []
        for point in POINTS:
            alpha, start = found.alphas[point], found.results[point - 1].solution
            judge = Judge(gram, cross, alpha)
            elapsed, m = timed(partial(solver, problem, alpha, tol, start))
            rows.append({"seconds": elapsed, "excess": judge.excess(judge.objective(m))})
            print(name, point, rows[-1], flush=True)
        total = extrapolated([row["seconds"] for row in rows])
        report[name] = {"at_points": rows, "extrapolated_seconds": total}
        report[name]["times_faster"] = total / mine["seconds"]
    return report


def extrapolated(times: list[float]) -> float:
    """The whole path from some points: interpolated logarithms, constant beyond the ends."""
    total = 0.0
    for k in range(1, PENALTIES):
        right = next((i for i, point in enumerate(POINTS) if point >= k), len(POINTS) - 1)
        left = max(right - 1, 0) if k <= POINTS[right] and k > POINTS[0] else right
        share = 0.0 if left == right else (k - POINTS[left]) / (POINTS[right] - POINTS[left])
        total += math.exp((1 - share) * math.log(times[left]) + share * math.log(times[right]))
    return total


def course(rate: float) -> Row:
    """The course's timing problem."""
    torch.manual_seed(0)
    x = torch.randn(500, 450, dtype=torch.float64) @ torch.randn(450, 60000, dtype=torch.float64)
    y = torch.randn(200, 500, dtype=torch.float64) @ x
    gram, cross = (x / 500) @ (x.mT / 60000), (y / 500) @ (x.mT / 60000)
    alpha = 0.1
    judge = Judge(gram, cross, alpha)
    found = group_lasso(gram, cross, alpha, tol=TOL)
    mine = ours(lambda: group_lasso(gram, cross, alpha, tol=TOL), rate)
    mine |= {"gap": found.gap, "kept": len(found.support), "newton_steps": found.iterations}
    report: Row = {"alpha": alpha, "alpha_max": alpha_max(gram, cross), "eckart": mine}
    report["fista"] = taught(lambda: fista(gram, cross, alpha), judge)
    report["alternating"] = taught(lambda: alternating_minimisation(gram, cross, alpha), judge)
    report["times_faster_than_alternating"] = report["alternating"]["seconds"] / mine["seconds"]
    return report


def moments_of(layer: str, data: Path | None, images: int) -> tuple[Tensor, Tensor]:
    """``R`` and ``B = W R`` of one layer of the trained LeNet-5."""
    model = trained_lenet(data)
    seen = batches(first(mnist(data), images))
    gram = eckart.calibrate(model, seen, metric=None, progress=False).a(layer)[0]
    return gram, model.get_submodule(layer).get_parameter("weight").detach().double() @ gram


NOTES = {
    "excess": "objective above the optimum, relative to half tr(B R+ B'); the optimum is from ours "
    "at tol 1e-10",
    "seconds_to_tolerance": "share of the time until ten losses in a row are within the tolerance: "
    "a stopping rule that knows the optimum",
    "extrapolated_seconds": "peers are timed at the points only, each from the exact solution of "
    "the penalty before; logarithms interpolated, constant beyond the ends",
}


def compile_skglm() -> None:
    """Compile skglm, whose first calls take seconds."""
    warnings.filterwarnings("ignore", module="skglm|sklearn")
    tiny = peers.regression(torch.eye(3).double(), torch.eye(3).double())
    peers.skglm(tiny, 0.1, 1e-3)
    peers.skglm(tiny, 0.1, 1e-3, torch.zeros(3, 3).double())


def measure(
    output: Path,
    data: Path | None = None,
    *,
    images: int = CALIBRATION_IMAGES,
    layers: Sequence[str] = LAYERS,
    paths: bool = True,
) -> None:
    """The course's problem, then layers of LeNet-5."""
    compile_skglm()
    rate = dgemm_gflops()
    result: Row = {
        "threads": torch.get_num_threads(),
        "images": images,
        "tolerance": TOL,
        "dgemm_gflops": rate,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
        "load_average_before": os.getloadavg()[0],
        "notes": NOTES,
        "course": course(rate),
    }
    write_json(result, output)
    for layer in layers:
        gram, cross = moments_of(layer, data, images)
        found: Row = {"h": len(cross), "d": len(gram), "single": single(gram, cross, rate)}
        found["stopped_by_gap"] = stopped_by_gap(gram, cross, rate, 5e-5)
        if paths:
            found["path"] = path(gram, cross, rate)
        result[layer] = found
        write_json(result, output)
    result["load_average_after"] = os.getloadavg()[0]
    write_json(result, output)


MEASUREMENT = Measurement(measure, choices={"layers": LAYERS}, threads=2)

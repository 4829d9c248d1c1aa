"""How the group lasso solvers of the notebook and of eckart reach the optimum."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from statistics import median
from time import process_time
from typing import Any

import torch
from torch import Tensor

from eckart.linalg import (
    History,
    alternating_minimisation,
    fista,
    group_lasso,
    proximal_gradient,
)
from study_kit.study import Row

BOUNCES = (1.0, 5.0, 50.0, 250.0)
"""The q of FISTA, which sets how long the momentum is held back."""
START = 0.01
"""Every entry of FISTA's first matrix."""
SMOOTHINGS = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12)
ROUNDS = (0, 1, 5, 10, 20, 50, 100, 200)
SHOWN = 1000
"""How many iterations are kept for the figure."""
Problem = tuple[Tensor, Tensor, float]
"""R, B and λ."""


def synthetic(d: int, r: int, h: int, n: int, seed: int = 0) -> Problem:
    """`x = randn(d, r) randn(r, n)`, `y = randn(h, d) x` in float64, λ = 0.1; rank-deficient."""
    generator = torch.Generator().manual_seed(seed)
    sizes = ((d, r), (r, n), (h, d))
    left, right, weight = (
        torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes
    )
    x = left @ right
    return (x / d) @ (x.mT / n), (weight @ x / d) @ (x.mT / n), 0.1


def solvers(problems: dict[str, Problem], most: int) -> Iterator[Row]:
    """How each solver reaches the optimum, which is eckart's at a relative gap of 1e-10."""
    for problem, (gram, cross, alpha) in problems.items():
        optimum, scale = _optimum(gram, cross, alpha)
        start = torch.full_like(cross, START)
        runs: dict[str, Callable[..., History]] = {"proximal gradient": proximal_gradient}
        for q in BOUNCES:
            runs[f"FISTA, q = {q:g}"] = partial(fista, q=q, start=start)
        runs["alternating, then FISTA"] = alternating_minimisation
        for name, run in runs.items():
            begun = process_time()
            history = run(gram, cross, alpha, max_iterations=most)
            seconds = process_time() - begun
            excess = [(loss - optimum) / scale for loss in history.losses]
            first = next((i for i, e in enumerate(excess, 1) if max(excess[i - 1 :]) <= 1e-6), None)
            yield {
                "problem": problem, "solver": name, "iterations": history.iterations,
                "objective": history.losses[-1], "excess": excess[-1], "enough": first,
                "seconds": seconds, "rises": sum(b > a for a, b in pairwise(excess)),
                "path": excess[:SHOWN],
            }  # fmt: skip
        begun = process_time()
        found = group_lasso(gram, cross, alpha)
        yield {
            "problem": problem, "solver": "**eckart**, Newton", "iterations": found.iterations,
            "objective": found.objective, "excess": max((found.objective - optimum) / scale, 0.0),
            "enough": None, "seconds": process_time() - begun, "rises": None, "path": [],
        }  # fmt: skip


def timed(problem: Problem, repeats: int) -> Iterator[Row]:
    """Processor time of the two methods that the notebook times, and of eckart."""
    runs: dict[str, Callable[..., Any]] = {
        "FISTA": lambda *p: fista(*p, q=10.0),
        "alternating, then FISTA": alternating_minimisation,
        "eckart": group_lasso,
    }
    for name, run in runs.items():
        seconds = []
        for _ in range(repeats):
            begun = process_time()
            run(*problem)
            seconds.append(process_time() - begun)
        yield {"solver": name, "seconds": median(seconds)}


def alternations(problems: dict[str, Problem], most: int) -> Iterator[Row]:
    """Alternating minimisation with other smoothings, and other numbers of rounds."""
    for name, problem in problems.items():
        for smoothing in SMOOTHINGS:
            yield _alternation(name, problem, most, smoothing=smoothing)
        for rounds in ROUNDS:
            yield _alternation(name, problem, most, rounds=rounds)


def _alternation(name: str, problem: Problem, most: int, **given: float) -> Row:
    """The excess and the columns left after the rounds alone, and what FISTA then does."""
    optimum, scale = _optimum(*problem)
    alone = alternating_minimisation(*problem, max_iterations=0, **given)
    begun = process_time()
    whole = alternating_minimisation(*problem, max_iterations=most, **given)
    seconds = process_time() - begun
    losses: Sequence[float] = alone.losses or (0.0,)
    return {
        "problem": name, "rounds": alone.iterations, **given, "seconds": seconds,
        "biased": (losses[-1] - optimum) / scale, "columns": _columns(alone.solution),
        "iterations": whole.iterations - alone.iterations,
        "excess": (whole.losses[-1] - optimum) / scale, "kept": _columns(whole.solution),
    }  # fmt: skip


def _optimum(gram: Tensor, cross: Tensor, alpha: float) -> tuple[float, float]:
    """The objective at the optimum, and ``½ tr(B R⁺ Bᵀ)``, its scale."""
    optimum = group_lasso(gram, cross, alpha, tol=1e-10).objective
    return optimum, 0.5 * float((cross @ torch.linalg.pinv(gram, hermitian=True) * cross).sum())


def _columns(matrix: Tensor) -> int:
    return int((matrix.norm(dim=0) > 0).sum())

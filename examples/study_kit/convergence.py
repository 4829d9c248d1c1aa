"""How the group lasso solvers of the course and of eckart reach the optimum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from time import process_time

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
SHOWN = 1000
"""How many iterations are kept for the figure."""
Problem = tuple[Tensor, Tensor, float]
"""R, B and λ."""


def synthetic(quick: bool) -> Problem:
    """`x = randn(500, 450) randn(450, 60000)`, `y = randn(200, 500) x`, λ = 0.1; rank-deficient."""
    torch.manual_seed(0)
    n, r, d, h = (600, 20, 25, 10) if quick else (60000, 450, 500, 200)
    x = torch.randn(d, r).double() @ torch.randn(r, n).double()
    y = torch.randn(h, d).double() @ x
    return (x / d) @ (x.mT / n), (y / d) @ (x.mT / n), 0.1


def solvers(problems: dict[str, Problem], quick: bool) -> Iterator[Row]:
    """How each solver reaches the optimum, which is eckart's at a relative gap of 1e-10."""
    most = 300 if quick else 20_000
    for problem, (gram, cross, alpha) in problems.items():
        optimum = group_lasso(gram, cross, alpha, tol=1e-10).objective
        scale = 0.5 * float((cross @ torch.linalg.pinv(gram, hermitian=True) * cross).sum())
        runs: dict[str, Callable[..., History]] = {"proximal gradient": proximal_gradient}
        runs |= {f"FISTA, q = {q:g}": lambda *p, q=q, **k: fista(*p, q=q, **k) for q in BOUNCES}
        runs["alternating, then FISTA"] = alternating_minimisation
        for name, run in runs.items():
            start = process_time()
            history = run(gram, cross, alpha, max_iterations=most)
            seconds = process_time() - start
            excess = [(loss - optimum) / scale for loss in history.losses]
            first = next((i for i, e in enumerate(excess, 1) if max(excess[i - 1 :]) <= 1e-6), None)
            yield {
                "problem": problem, "solver": name, "iterations": history.iterations,
                "excess": excess[-1], "enough": first, "seconds": seconds,
                "rises": sum(b > a for a, b in pairwise(excess)),
                "path": excess[:SHOWN],
            }  # fmt: skip
        start = process_time()
        found = group_lasso(gram, cross, alpha)
        yield {
            "problem": problem, "solver": "**eckart**, Newton", "iterations": found.iterations,
            "excess": max((found.objective - optimum) / scale, 0.0), "enough": None,
            "seconds": process_time() - start, "rises": None, "path": [],
        }  # fmt: skip

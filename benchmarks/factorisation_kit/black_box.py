"""The black-box game: find the hidden width of ``‖sin(W₂ cos(W₁ x))‖²`` from outside."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import write_json
from eckart.linalg import black_box_rank

DIMENSION, WIDEST, LARGEST = 100, 95, 100.0
WAYS = {  # name: gradient, dtype of the whole game, games
    "automatic differentiation, float32": ("automatic", torch.float32, 1000),
    "finite differences, float64": ("differences", torch.float64, 200),
    "finite differences, float32": ("differences", torch.float32, 200),
}


def game(seed: int, dtype: torch.dtype) -> tuple[int, Callable[[Tensor], Tensor]]:
    """The hidden rank, uniform in 1..95, and the function; weights uniform in [0, 100]."""
    generator = torch.Generator().manual_seed(seed)
    rank = int(torch.randint(1, WIDEST + 1, (), generator=generator))
    inner = (torch.rand(rank, DIMENSION, generator=generator) * LARGEST).to(dtype)
    outer = (torch.rand(DIMENSION, rank, generator=generator) * LARGEST).to(dtype)
    return rank, lambda x: torch.sin(outer @ torch.cos(inner @ x)).square().sum()


def play(gradient: str, dtype: torch.dtype, games: int) -> dict[str, object]:
    right, gaps, calls, lost = 0, [], [], []
    start = time.perf_counter()
    for seed in range(games):
        rank, function = game(seed, dtype)
        generator = torch.Generator().manual_seed(seed + 10**6)
        found = black_box_rank(
            function, DIMENSION, gradient=gradient, dtype=dtype, generator=generator
        )
        right += found.rank == rank
        gaps.append(found.gap)
        calls.append(found.calls)
        if found.rank != rank:
            lost.append({"seed": seed, "rank": rank, "found": found.rank, "gap": found.gap})
    return {
        "games": games,
        "right": right,
        "least_gap": min(gaps),
        "median_gap": statistics.median(gaps),
        "calls_median": statistics.median(calls),
        "calls_most": max(calls),
        "seconds_per_game": (time.perf_counter() - start) / games,
        "lost": lost,
    }


def measure(output: Path, *, games: int = 0) -> None:
    """Play games for each kind of gradient; 0 plays the default number of each."""
    result = {}
    for name, (gradient, dtype, usual) in WAYS.items():
        result[name] = play(gradient, dtype, games or usual)
        print(name, result[name], flush=True)
        write_json(result, output)


MEASUREMENT = Measurement(measure)

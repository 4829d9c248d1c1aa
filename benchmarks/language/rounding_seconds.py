"""Seconds to round a network of SmolLM2-135M's shapes to one width: triangles, grids, feedback.

One block is rounded, of random weights under random moments, and its seconds are multiplied by the
number of blocks. With one thread they are seconds of the processor. What layers share is factored
once, as q, k and v share their inputs.
"""

from collections import defaultdict
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from benchmarks.measuring.clocks import fair_clock, timed
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results
from eckart.linalg import damped
from eckart.linalg.rounding import Triangle, choose_grid, round_weight, triangle

BLOCKS, SPAN = 30, 64
WIDTH, HEADS, INNER = 576, 192, 1536
INPUTS = (WIDTH, WIDTH, WIDTH, INNER)  # of q, k and v, of o, of gate and up, of down
LAYERS = (
    *((WIDTH, WIDTH), (HEADS, WIDTH), (HEADS, WIDTH), (WIDTH, WIDTH)),
    *((INNER, WIDTH), (INNER, WIDTH), (WIDTH, INNER)),
)


def random_moment(size: int) -> Float64[Tensor, "1 n n"]:
    """Of rows whose deviations fall from 1 to a hundredth, in random directions; damped."""
    falling = torch.logspace(0, -2, size, dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64))[0]
    rows = (torch.randn(4 * size, size, dtype=torch.float64) * falling) @ basis
    return damped((rows.T @ rows / len(rows))[None], 1e-2)


def measure(output: Path, seed: int = 0, *, bits: int = 4) -> None:
    """Measure one width."""
    torch.manual_seed(seed)
    clock = fair_clock()
    moments = {size: random_moment(size) for size in (HEADS, WIDTH, INNER)}
    spent: dict[str, float] = defaultdict(float)
    found: dict[int, Triangle] = {}
    for size in (*INPUTS, *(out for out, _ in LAYERS)):
        seconds, found[size] = timed(partial(triangle, moments[size]), clock)
        spent["triangles"] += seconds
    for out, inputs in LAYERS:
        weight = torch.randn(1, out, inputs, dtype=torch.float64)
        a, g = found[inputs], found[out]
        seconds, choice = timed(partial(choose_grid, weight, bits, SPAN, a=a, g=g), clock)
        spent["grids"] += seconds
        for title, used in (("both sides", g), ("inputs", None)):
            run = partial(round_weight, weight, choice.grid, a=a, g=used)
            spent[title] += timed(run, clock)[0]
    results = Results(output)
    threads = torch.get_num_threads()
    results.forget(bits=bits, threads=threads)
    whole = {f"{title}_s": BLOCKS * seconds for title, seconds in spent.items()}
    macs = BLOCKS * sum(out * inputs * (out + inputs) / 2 for out, inputs in LAYERS)
    results.add({"bits": bits, "threads": threads, "feedback macs": macs, **whole})


MEASUREMENT = Measurement(measure, threads=1)

"""Seconds of calls, so that a busy machine disturbs them little."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

Clock = Callable[[], float]
_LEAST_S = 2e-4  # a sample repeats shorter calls until it takes this long
_MOST_CALLS = 1000


@dataclass(frozen=True)
class Times:
    """Milliseconds of one call, from several samples.

    Attributes:
        samples: in the order of the rounds.
    """

    samples: tuple[float, ...]

    @property
    def least(self) -> float:
        """The fastest sample: what the call takes when nothing disturbs it."""
        return min(self.samples)

    @property
    def median(self) -> float:
        """The usual sample."""
        return float(np.median(self.samples))

    @property
    def spread(self) -> float:
        """The interquartile range."""
        low, high = np.percentile(self.samples, [25, 75])
        return float(high - low)


def clock_of(threads: int, device: torch.device) -> Clock:
    """The processor's own clock for one thread on a CPU, else the clock on the wall.

    Other work on the machine does not count on the processor's clock.
    """
    alone = threads == 1 and device.type == "cpu"
    return time.process_time if alone else time.perf_counter


def interleaved(
    runs: Sequence[Callable[[], object]], rounds: int, clock: Clock, seconds: float = 0.0
) -> list[Times]:
    """The times of several calls that take turns, so that slow changes of the machine hit all.

    Args:
        runs: what to time.
        rounds: samples of each.
        clock: in seconds.
        seconds: after the rounds, go on until this much time was spent.
    """
    calls = [_calls(run, clock) for run in runs]
    samples: list[list[float]] = [[] for _ in runs]
    start = clock()
    while len(samples[0]) < rounds or clock() - start < seconds:
        for run, count, found in zip(runs, calls, samples, strict=True):
            before = clock()
            for _ in range(count):
                run()
            found.append((clock() - before) / count * 1e3)
    return [Times(tuple(found)) for found in samples]


def _calls(run: Callable[[], object], clock: Clock) -> int:
    """How many calls make one sample, after two to warm up."""
    run()
    before = clock()
    run()
    taken = max(clock() - before, _LEAST_S / _MOST_CALLS)
    return max(1, round(_LEAST_S / taken))

"""Seconds of one call."""

import time
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")
Clock = Callable[[], float]


def fair_clock() -> Clock:
    """The processor's clock for one thread, which a busy machine does not falsify."""
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def timed(run: Callable[[], T], clock: Clock = time.perf_counter) -> tuple[float, T]:
    """What one call takes, and what it returns."""
    start = clock()
    found = run()
    return clock() - start, found

"""Seconds of one call."""

import time
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")
Clock = Callable[[], float]


def fair_clock() -> Clock:
    """The processor's clock if there is one thread: a busy machine does not distort it."""
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def timed(run: Callable[[], T], clock: Clock = time.perf_counter) -> tuple[float, T]:
    """The seconds that one call takes, and its result."""
    start = clock()
    found = run()
    return clock() - start, found

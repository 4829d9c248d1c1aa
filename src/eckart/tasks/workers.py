"""Who does the work: this process, or local processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Sequence
from typing import Any

from torch import nn

from eckart.errors import InputError
from eckart.methods.cache import settled
from eckart.tasks.forked import forked
from eckart.tasks.task import Task

Workers = int
"""How many processes work."""


def checked_workers(workers: Workers, model: nn.Module) -> Workers:
    """The workers, once it is known that they can be had.

    Args:
        workers: a number of processes.
        model: what the work is on.

    Raises:
        InputError: it is something else, or there are no local processes on this system.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise InputError(f"workers={workers!r}: give a number of processes, 1 or more")
    elsewhere = sorted({str(p.device) for p in model.parameters() if p.device.type != "cpu"})
    if workers > 1 and elsewhere:
        raise InputError(
            f"workers={workers}: the network is on {elsewhere[0]}, which local processes cannot "
            "share: leave workers out, or move the network to the CPU"
        )
    if workers > 1 and (sys.platform == "darwin" or not hasattr(os, "fork")):
        raise InputError(f"workers={workers}: needs Linux, not {sys.platform}: leave it out")
    return workers


def made(
    tasks: Sequence[Task], workers: Workers, begin: Callable[[str], None]
) -> Generator[tuple[Task, Any], None, None]:
    """Each task with its result, as they are done; with one worker in the order given.

    Args:
        tasks: each needs no other.
        workers: as checked.
        begin: is told the title of each task that begins.
    """
    if workers == 1:
        for task in tasks:
            begin(task.title)
            yield task, settled(task.work())
    else:
        yield from forked(tasks, workers, begin)

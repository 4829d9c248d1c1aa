"""What the copy of a process does: one task, and then it ends."""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress
from typing import NoReturn

import torch

from eckart.tasks.parcels import sent_back
from eckart.tasks.task import Task

_END_WITH_PARENT = 1  # PR_SET_PDEATHSIG in linux/prctl.h


def run_as_child(task: Task, pipe: int, parent: int) -> NoReturn:
    """Do a task, write its result to a pipe, and end: with 1 if it failed.

    Args:
        task: what to do.
        pipe: to write to.
        parent: number of the process that this is a copy of.
    """
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process tells us to stop
        _end_with(parent)
        torch.set_num_threads(1)
        _send(pipe, sent_back(task.work, task.title))
        code = 0
    finally:
        os._exit(code)


def _end_with(parent: int) -> None:
    """Let the system kill this process when its parent ends, even if that is killed."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _send(pipe: int, data: bytes) -> None:
    with os.fdopen(pipe, "wb") as file:
        file.write(data)

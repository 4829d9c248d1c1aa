"""What the copy of a process does: one task, and then it ends."""

from __future__ import annotations

import builtins
import ctypes
import json
import os
import signal
import warnings
from contextlib import suppress
from typing import NoReturn

import torch

from eckart import errors
from eckart.methods.cache import settled
from eckart.methods.state_file import as_bytes
from eckart.tasks.task import Task

_END_WITH_PARENT = 1  # PR_SET_PDEATHSIG in linux/prctl.h
Noted = tuple[type[Warning], str]


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
        _send(pipe, packed(task))
        code = 0
    finally:
        os._exit(code)


def _end_with(parent: int) -> None:
    """Let the system kill this process when its parent ends, even if that is killed."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def packed(task: Task) -> bytes:
    """The result of a task, and the warnings that it gave."""
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        state = as_bytes(settled(task.work()), task.title)
    noted = json.dumps([[w.category.__name__, str(w.message)] for w in given]).encode()
    return len(noted).to_bytes(8, "little") + noted + state


def unpacked(data: bytes) -> tuple[list[Noted], bytes]:
    """The warnings and the state in what ``packed`` gave."""
    end = 8 + int.from_bytes(data[:8], "little")
    noted = [(_category(name), message) for name, message in json.loads(data[8:end])]
    return noted, data[end:]


def _category(name: str) -> type[Warning]:
    """The class of a warning: one of ours, or of Python's; else what all have in common."""
    found = getattr(errors, name, None) or getattr(builtins, name, None)
    if isinstance(found, type) and issubclass(found, Warning):
        return found
    return UserWarning


def _send(pipe: int, data: bytes) -> None:
    with os.fdopen(pipe, "wb") as file:
        file.write(data)

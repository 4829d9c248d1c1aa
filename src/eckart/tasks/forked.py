"""Tasks in copies of this process. Nothing has to be sent to them: a copy has all that we have.

One copy does one task, with one thread, and sends back bytes. If it is killed, the task is begun
again; if it fails, the task is done again here, so that its error is raised as without workers.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import warnings
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from eckart.errors import EckartError, InputError
from eckart.methods.cache import settled
from eckart.tasks.child import run_as_child
from eckart.tasks.parcels import received
from eckart.tasks.task import Task

_TRIES = 3  # of a task whose process is killed
_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class Forked:
    """A number of copies of this process at once."""

    workers: int

    def check(self) -> None:
        """Raise ``InputError`` if this system has no copies of processes."""
        if sys.platform == "darwin" or not hasattr(os, "fork"):
            raise InputError(
                f"workers={self.workers}: needs Linux, not {sys.platform}: leave it out"
            )

    def done(
        self, tasks: Sequence[Task], begin: Callable[[str], None]
    ) -> Generator[tuple[Task, Any], None, None]:
        """Each task with its result, as they are done, the largest first.

        Raises:
            EckartError: the process of a task was killed three times.
        """
        waiting = deque(sorted(tasks, key=lambda task: -task.size))
        crew, killed = _Crew(), Counter[int]()
        try:
            while waiting or crew.busy:
                while waiting and len(crew.busy) < self.workers:
                    begin(waiting[0].title)
                    crew.begin(waiting.popleft())
                for task, code, data in crew.done():
                    if code < 0:
                        killed[id(task)] += 1
                        _check_tries(task, -code, killed[id(task)])
                        waiting.appendleft(task)
                    else:
                        yield task, _result(task, code, data)
        finally:
            crew.stop()


def _result(task: Task, code: int, data: bytes) -> Any:
    """What a process sent, with its warnings; or what the task gives here if it failed there."""
    return settled(task.work()) if code else received(data, task)


def _check_tries(task: Task, number: int, tries: int) -> None:
    if tries >= _TRIES:
        raise EckartError(
            f"{task.title or 'a task'}: its process was killed {tries} times, by "
            f"{signal.Signals(number).name}; there may be too little memory for so many workers: "
            "give fewer"
        )


@dataclass
class _Crew:
    """The processes at work, by the pipe that each writes to."""

    busy: dict[int, tuple[int, Task, bytearray]] = field(default_factory=dict)
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def begin(self, task: Task) -> None:
        """Copy this process; the copy does the task."""
        (ours, theirs), parent = os.pipe(), os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of other threads, which hold no lock of ours
            number = os.fork()
        if number == 0:
            run_as_child(task, theirs, parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(theirs)
        self.busy[ours] = (number, task, bytearray())
        self.selector.register(ours, selectors.EVENT_READ)

    def done(self) -> Iterator[tuple[Task, int, bytes]]:
        """Wait; then the tasks that ended, with the exit code, or minus the signal, and bytes."""
        for key, _ in self.selector.select():
            number, task, data = self.busy[key.fd]
            block = os.read(key.fd, _BLOCK_BYTES)
            data += block
            if not block:
                self._close(key.fd)
                _, status = os.waitpid(number, 0)
                yield task, os.waitstatus_to_exitcode(status), bytes(data)

    def _close(self, pipe: int) -> None:
        self.selector.unregister(pipe)
        os.close(pipe)
        del self.busy[pipe]

    def stop(self) -> None:
        """End what is still at work."""
        for pipe, (number, _, _) in list(self.busy.items()):
            os.kill(number, signal.SIGKILL)
            os.waitpid(number, 0)
            self._close(pipe)
        self.selector.close()

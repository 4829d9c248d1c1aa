"""Tasks on a Ray cluster: each travels with its inputs, and its result comes back as bytes.

Ray does a task again if its process or its machine dies. A task that fails is done again here, so
that its error is raised as without workers.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from eckart.errors import EckartError, EckartWarning, InputError
from eckart.methods.cache import settled
from eckart.tasks.parcels import parcel_of, received, versions
from eckart.tasks.ray_cluster import connected
from eckart.tasks.task import Task

_RETRIES = 2  # of a task whose process or machine dies
_AHEAD = 2  # tasks that are sent at once, for each processor of the cluster
Answer = tuple[str, Any]
"""What became of a task, and its result or what is wrong."""


class OnRay:
    """The processors of a Ray cluster, which is found when it is needed."""

    def check(self) -> None:
        """Connect to the cluster, so that what is wrong with it is known before any work."""
        connected()

    def done(
        self, tasks: Sequence[Task], begin: Callable[[str], None]
    ) -> Generator[tuple[Task, Any], None, None]:
        """Each task with its result, as they are done; those that cannot be sent are done here.

        Raises:
            InputError: Ray is not installed or its cluster is not there; a task cannot be sent; the
                workers have other versions, or do not see a folder.
            EckartError: a task could not be done, however often it was tried.
        """
        if not tasks:
            return
        waiting = deque(sorted((t for t in tasks if t.sent), key=lambda task: -task.size))
        here = deque(task for task in tasks if not task.sent)
        crew = _Crew(connected())
        try:
            while waiting or crew.busy or here:
                while waiting and crew.has_room:
                    begin(waiting[0].title)
                    crew.begin(waiting.popleft())
                if here:
                    begin(here[0].title)
                    yield here[0], settled(here.popleft().work())
                else:
                    yield crew.next()
        finally:
            crew.stop()


@dataclass
class _Crew:
    """The tasks that are on a cluster."""

    ray: Any
    busy: dict[Any, Task] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._work = self.ray.remote(num_cpus=1, max_retries=_RETRIES)(_remote())
        self._most = _AHEAD * max(1, int(self.ray.cluster_resources().get("CPU", 1)))

    @property
    def has_room(self) -> bool:
        return len(self.busy) < self._most

    def begin(self, task: Task) -> None:
        """Send a task."""
        paths = [str(path) for path in task.paths]
        parcel = parcel_of(task, self.ray.cloudpickle)
        self.busy[self._work.remote(versions(), paths, parcel)] = task

    def next(self) -> tuple[Task, Any]:
        """The task that ends next, with its result."""
        (ref, *_), _ = self.ray.wait(list(self.busy))
        task = self.busy.pop(ref)
        try:
            what, answer = self.ray.get(ref)
        except self.ray.exceptions.RayError as error:
            raise EckartError(
                f"{task.title or 'a task'}: Ray gave up after {_RETRIES + 1} tries "
                f"({type(error).__name__}: {error!s:.200}); there may be too little memory for so "
                "many workers at once: give Ray fewer processors"
            ) from error
        return task, received(answer, task) if what == "done" else _done_here(task, what, answer)

    def stop(self) -> None:
        """End what is still at work."""
        for ref in self.busy:
            self.ray.cancel(ref, force=True)
        self.busy.clear()


def _done_here(task: Task, what: str, answer: str) -> Any:
    """The result of a task that failed there, if it does not fail here.

    Raises:
        InputError: other machines cannot do it as they are.
    """
    if what == "other":
        raise InputError(
            f"{answer}: install the same versions on all machines, or give Ray a runtime_env"
        )
    if what == "unseen":
        raise InputError(
            f"{answer}: put the workspace into a folder that all machines share under one path, "
            "or gather moments without one, and they are sent"
        )
    result = settled(task.work())
    warnings.warn(
        f"{task.title or 'a task'} failed on {answer}, and was done in this process",
        EckartWarning,
        stacklevel=2,
    )
    return result


def _remote() -> Callable[[dict[str, str], list[str], bytes], Answer]:
    """What a worker does. It is sent as it is, because workers may have no eckart, or another."""

    def work(wanted: dict[str, str], paths: list[str], parcel: bytes) -> Answer:
        import os
        import socket
        from importlib.metadata import PackageNotFoundError, version

        at = socket.gethostname()
        for name, number in wanted.items():
            try:
                found = version(name).partition("+")[0]
            except PackageNotFoundError:
                return "other", f"{at} has no {name}, but {number} is needed"
            if found != number:
                return "other", f"{at} has {name} {found}, not {number}"
        if unseen := [path for path in paths if not os.path.exists(path)]:
            return "unseen", f"{at} does not see {unseen[0]}"
        try:
            import torch
            from ray import cloudpickle

            torch.set_num_threads(1)
            return "done", cloudpickle.loads(parcel).done()
        except Exception as error:
            return "failed", f"{at} ({error!r:.200})"

    return work

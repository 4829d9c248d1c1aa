"""The results of tasks: found again where they were kept, else made."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from eckart.methods.cache import Cache
from eckart.running.progress import tracked
from eckart.tasks.task import Done, Task
from eckart.tasks.workers import Workers, crew_of


@contextmanager
def results_of(
    tasks: Sequence[Task],
    cache: Cache,
    workers: Workers = 1,
    *,
    what: str = "",
    progress: bool | None = None,
) -> Iterator[Done]:
    """Each task with its result, in the order in which they become known.

    What is made is kept at once, so a run that is killed goes on from there. At the end of the
    ``with`` block no worker is left, whatever ended it.

    Args:
        tasks: each needs no other.
        cache: where results are kept.
        workers: who does what is not found.
        what: name of the stage.
        progress: show a bar, of all tasks; None shows it on a terminal.
    """
    with closing(_results(tasks, cache, workers)) as found:
        yield tracked(found, what, progress, len(tasks))


def _results(
    tasks: Sequence[Task], cache: Cache, workers: Workers
) -> Generator[tuple[Task, Any], None, None]:
    missing: list[list[Task]] = []
    for alike in _by_title(tasks):
        first = alike[0]
        known = cache.known(first.title, first.kind, first.device) if first.title else None
        if known is None:
            missing.append(alike)
        else:
            yield from ((task, known) for task in alike)
    waiting = {id(alike[0]): alike for alike in missing}
    firsts = [alike[0] for alike in missing]
    with closing(crew_of(workers).done(firsts, cache.begin)) as results:
        for task, result in results:
            if task.title and task.lasting(result):
                cache.keep(task.title, result)
            yield from ((each, result) for each in waiting[id(task)])


def _by_title(tasks: Sequence[Task]) -> list[list[Task]]:
    """The tasks in order; those of one title, which have one result, are together."""
    together: dict[str, list[Task]] = {}
    for task in tasks:
        together.setdefault(task.title or f"\0{id(task)}", []).append(task)
    return list(together.values())

"""Who does the work: this process, local processes, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from numbers import Integral
from typing import Any, Protocol

from torch import nn

from eckart.errors import InputError
from eckart.methods.cache import settled
from eckart.tasks.forked import Forked
from eckart.tasks.on_ray import OnRay
from eckart.tasks.task import Task

Workers = int | str
"""How many processes work, or the name of who does."""


class Crew(Protocol):
    """Who does tasks."""

    def check(self) -> None:
        """Raise ``InputError`` if they are not there."""

    def done(
        self, tasks: Sequence[Task], begin: Callable[[str], None]
    ) -> Generator[tuple[Task, Any], None, None]:
        """Each task with its result, as they are done; ``begin`` is told the title of each."""


class Here:
    """This process, which does the tasks in the order given."""

    def check(self) -> None:
        """It is always there."""

    def done(
        self, tasks: Sequence[Task], begin: Callable[[str], None]
    ) -> Generator[tuple[Task, Any], None, None]:
        for task in tasks:
            begin(task.title)
            yield task, settled(task.work())


CREWS: dict[str, Crew] = {"ray": OnRay()}


def crew_of(workers: Workers) -> Crew:
    """Who is meant.

    Args:
        workers: a number of processes, or the name of a crew.

    Raises:
        InputError: it is something else.
    """
    if isinstance(workers, str) and workers in CREWS:
        return CREWS[workers]
    if isinstance(workers, bool) or not isinstance(workers, Integral) or workers < 1:
        names = ", ".join(map(repr, CREWS))
        raise InputError(f"workers={workers!r}: give a number of processes, 1 or more, or {names}")
    return Here() if workers == 1 else Forked(int(workers))


def checked_workers(workers: Workers, model: nn.Module) -> Workers:
    """The workers, once it is known that they can be had for a network.

    Raises:
        InputError: they make no sense, are not there, or the network is on a device that other
            processes do not share.
    """
    crew_of(workers).check()
    elsewhere = sorted({str(p.device) for p in model.parameters() if p.device.type != "cpu"})
    if workers != 1 and elsewhere:
        raise InputError(
            f"workers={workers!r}: the network is on {elsewhere[0]}, which other processes cannot "
            "share: leave workers out, or move the network to the CPU"
        )
    return workers

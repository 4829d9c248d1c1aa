"""The points of a frontier, one after the other or by several workers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from eckart.errors import InputError
from eckart.methods import Cache
from eckart.records import Point
from eckart.running.progress import tracked
from eckart.tasks import Task, Workers, results_of
from eckart.tasks.task import Text

Key = tuple[float, str]
"""The fraction that a point keeps, and its label."""


def check_untimed(workers: Workers, timed: bool) -> None:
    """Raise ``InputError`` if networks are to be timed while others run beside them."""
    if timed and workers != 1:
        raise InputError(
            f"workers={workers!r}: networks that are measured side by side slow each other down, "
            "so they cannot be timed: leave out workers=, or latency= and milliseconds"
        )


@contextmanager
def points_of(
    keys: Sequence[Key],
    point: Callable[[Key], Point],
    workers: Workers,
    progress: bool | None,
    sent: Callable[[Key], Callable[[], Point]],
) -> Iterator[Iterator[tuple[Key, Point]]]:
    """Each key with its point, in the order in which they are measured.

    Args:
        keys: which points.
        point: plans, builds and measures one.
        workers: who measures; points by other processes come without the samples of their scores.
        progress: show a bar; None shows it on a terminal.
        sent: builds one network here, and gives what measures it on another machine.
    """
    if workers == 1:
        yield ((key, point(key)) for key in tracked(keys, "measuring", progress, len(keys)))
        return
    tasks = [
        Task("", Text, partial(_as_text, partial(point, key)), partial(_sent, sent, key))
        for key in keys
    ]
    names = {id(task): key for task, key in zip(tasks, keys, strict=True)}
    with results_of(tasks, Cache(0), workers, what="measuring", progress=progress) as results:
        yield ((names[id(task)], Point.from_json(json.loads(r.text))) for task, r in results)


def _as_text(point: Callable[[], Point]) -> Text:
    return Text(json.dumps(point().as_json()))


def _sent(sent: Callable[[Key], Callable[[], Point]], key: Key) -> Callable[[], Text]:
    return partial(_as_text, sent(key))

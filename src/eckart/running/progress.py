"""How far a stage has come: a bar on a terminal, a few lines anywhere else, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
_LINE_EVERY_S = 60.0


def tracked(
    items: Iterable[T], what: str, show: bool | None, total: int | None = None
) -> Iterator[T]:
    """Iterate, and show how far it has come.

    On a terminal that is a bar with an estimate of the time left. Where standard error is a file or
    a pipe, it is a line at the start, one per minute with an estimate, and one at the end.

    Args:
        items: handed on one by one.
        what: name of the stage.
        show: None shows the bar on a terminal and nothing elsewhere.
        total: how many items there are; their length where None.
    """
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    if not (on_terminal if show is None else show and sys.stderr is not None):
        yield from items
        return
    from rich.console import Console  # here, because it takes a while to import

    console, length = Console(stderr=True), length_of(items) if total is None else total
    if console.is_terminal or console.is_jupyter:
        yield from _with_bar(items, what, length, console)
    else:
        yield from with_lines(items, what, length)


def with_lines(
    items: Iterable[T],
    what: str,
    length: int | None,
    now: Callable[[], float] = monotonic,
) -> Iterator[T]:
    """Iterate with a line at the start, one per minute, and one at the end.

    Args:
        items: handed on one by one.
        what: name of the stage.
        length: how many there are; without it there is no estimate.
        now: the time in seconds.
    """
    start = told = now()
    done = 0
    _tell(f"{what}: started" + ("" if length is None else f", {length} to do"))
    for item in items:
        yield item
        done += 1
        seconds = now() - start
        if start + seconds - told >= _LINE_EVERY_S:
            told = start + seconds
            _tell(f"{what}: {_so_far(done, length, seconds)}")
    _tell(f"{what}: done, {done} in {duration(now() - start)}")


def duration(seconds: float) -> str:
    """A duration in words.

    Example:
        >>> [duration(seconds) for seconds in (3.2, 61.0, 7500.0)]
        ['3.2 s', '1 min 1 s', '2 h 5 min']
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _so_far(done: int, length: int | None, seconds: float) -> str:
    if length is None:
        return f"{done} in {duration(seconds)}"
    left = duration(seconds / done * max(0, length - done))
    return f"{done} of {length} in {duration(seconds)}, about {left} left"


def _tell(line: str) -> None:
    """One line on standard error; that nobody reads it stops no work."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def _with_bar(items: Iterable[T], what: str, length: int | None, console: Console) -> Iterator[T]:
    """Iterate with a bar; where the items are batches of token ids, it tells tokens per second."""
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[speed]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=length, speed="")
        tokens, start = 0, monotonic()
        for item in items:
            yield item
            tokens += tokens_in(item)
            speed = f"{tokens / max(monotonic() - start, 1e-9):,.0f} tokens/s" if tokens else ""
            progress.update(task, advance=1, speed=speed)


def tokens_in(batch: Any) -> int:
    """Number of token ids in a batch; 0 where it is of something else."""
    inputs = batch[0] if isinstance(batch, tuple | list) and len(batch) == 2 else batch
    ids = inputs.get("input_ids") if isinstance(inputs, Mapping) else None
    return 0 if ids is None else int(ids.numel())


def length_of(items: Iterable[Any]) -> int | None:
    """Length where there is one."""
    try:
        return len(items)  # type: ignore[arg-type]
    except TypeError:
        return None

"""A progress bar with an estimate of the time left, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from time import monotonic
from typing import Any, TypeVar

T = TypeVar("T")


def tracked(
    items: Iterable[T], what: str, show: bool | None, total: int | None = None
) -> Iterator[T]:
    """Iterate with a bar; ``show=None`` shows it when standard error is a terminal.

    Where the items are batches of token ids, it tells tokens per second.
    """
    shown = sys.stderr.isatty() if show is None else show
    if not shown:
        yield from items
        return
    from rich.console import Console  # here, because it takes a while to import
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    length = length_of(items) if total is None else total
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[speed]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
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

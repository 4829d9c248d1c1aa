"""A progress bar with an estimate of the time left, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def tracked(
    items: Iterable[T], what: str, show: bool | None, total: int | None = None
) -> Iterator[T]:
    """Iterate with a bar; ``show=None`` shows it when standard error is a terminal."""
    shown = sys.stderr.isatty() if show is None else show
    if not shown:
        yield from items
        return
    length = length_of(items) if total is None else total
    yield from track(items, what, total=length, console=Console(stderr=True), transient=True)


def length_of(items: Iterable[Any]) -> int | None:
    """Length where there is one."""
    try:
        return len(items)  # type: ignore[arg-type]
    except TypeError:
        return None

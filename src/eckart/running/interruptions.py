"""Stop a long run between two steps and keep what is done so far."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


def until_error(source: Iterator[Any]) -> Iterator[tuple[Any, BaseException | None]]:
    """Pairs of a batch and None; if an error ends the source, None and that error come last."""
    while True:
        try:
            batch = next(source)
        except StopIteration:
            return
        except (Exception, KeyboardInterrupt) as error:
            yield None, error
            return
        yield batch, None


@contextmanager
def deferred_interrupt() -> Iterator[threading.Event]:
    """Make Ctrl-C take effect between batches; a second Ctrl-C takes effect at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)

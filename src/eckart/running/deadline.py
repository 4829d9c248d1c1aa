"""Python code that is stopped when its time is up, wherever it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic


class TimeUp(BaseException):
    """The time is up; code that catches every ``Exception`` does not stop it."""


@dataclass(frozen=True)
class Deadline:
    """A moment in the future.

    Attributes:
        seconds: how far it was away when it was set.
    """

    seconds: float
    _end: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_end", monotonic() + self.seconds)

    def check(self) -> None:
        """Raise ``TimeUp`` if it is past."""
        if monotonic() > self._end:
            raise TimeUp

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Raise ``TimeUp`` inside, at the first call of any function after the deadline.

        It asks at each call, by the hook of Python's profilers; one that is set is put back. So
        the code of other libraries need not know about it.
        """
        before, end = sys.getprofile(), self._end

        def ask(*_: object) -> None:
            if monotonic() > end:
                raise TimeUp

        sys.setprofile(ask)
        try:
            yield
        finally:
            sys.setprofile(before)

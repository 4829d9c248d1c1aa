"""A few characters of any value, for messages about data that may be large or deeply nested."""

from __future__ import annotations

from reprlib import Repr
from typing import Any

_LONGEST = 80


def excerpt(value: Any) -> str:
    """The beginning of a value's ``repr``, on one line, however large the value is.

    Example:
        >>> excerpt({"kernel": [3, 3]}), excerpt(10**30)
        ("{'kernel': [3, 3]}", 'a number of 100 bits')
    """
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a number of {value.bit_length()} bits"
    return _Brief().repr(value)[:_LONGEST]


class _Brief(Repr):
    def repr_int(self, x: int, level: int) -> str:
        """Python itself refuses to print integers of thousands of digits."""
        return repr(x) if x.bit_length() <= 64 else "…"

"""Names that users pass: one, or several."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eckart.errors import InputError


def names_in(name: str, given: object) -> list[str]:
    """The names in an argument that is one name or several.

    Raises:
        InputError: it is neither.

    Example:
        >>> names_in("layers", "conv1"), names_in("layers", ("conv1", "fc"))
        (['conv1'], ['conv1', 'fc'])
        >>> names_in("layers", 3)
        Traceback (most recent call last):
        eckart.errors.InputError: layers=3: expected a name, or several as a list
    """
    if isinstance(given, str):
        return [given]
    names: list[Any] = [*given] if isinstance(given, Iterable) else [None]
    if not all(isinstance(each, str) for each in names):
        raise InputError(f"{name}={given!r:.80}: expected a name, or several as a list")
    return names

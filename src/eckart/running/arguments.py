"""Arguments of the wrong kind are refused where they come in, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from torch import nn

from eckart.errors import InputError

_NAMES = {Integral: "int", Real: "float"}  # those of numpy are of these kinds, too


def check_kind(name: str, given: object, *kinds: Any) -> None:
    """Raise ``InputError`` unless an argument is of one of these kinds; says how to get one.

    Example:
        >>> check_kind("seed", 3, Integral)
        >>> check_kind("seed", "3", Integral)
        Traceback (most recent call last):
        eckart.errors.InputError: seed= is a str, and has to be int
    """
    if isinstance(given, kinds) and not isinstance(given, bool):
        return
    expected = " or ".join(_NAMES.get(kind, kind.__name__) for kind in kinds)
    got = type(given).__name__
    what_to_do = _what_to_do(given, kinds[0])
    raise InputError(f"{name}= is {_article(got)} {got}, and has to be {expected}{what_to_do}")


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


def _what_to_do(given: object, kind: type) -> str:
    if issubclass(kind, nn.Module) and isinstance(given, Mapping):
        return ": build the network, and give it these weights with load_state_dict()"
    if isinstance(given, str | Path):
        for reads, what in (("load", "path"), ("loads", "Path(path).read_text()")):
            if hasattr(kind, reads):
                return f": read a file with {kind.__name__}.{reads}({what})"
    return ""


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiouAEIOU" else "a"

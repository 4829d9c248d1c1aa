"""Arguments of the wrong kind are refused where they come in, by name."""

from __future__ import annotations

from collections.abc import Mapping
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

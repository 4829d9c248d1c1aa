"""What a command hands back, and how it is printed: tables for people, or one JSON document."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from eckart.errors import EckartError, InputError
from eckart.storage.writing import make_folder, writable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_WIDE = 160  # columns where there is no terminal to ask


@dataclass(frozen=True)
class Result:
    """What a command found: the same facts twice.

    Attributes:
        document: for ``--json``; plain dictionaries, lists, numbers and strings.
        shown: tables and lines for a person.
        failure: what failed after the work was done; it is said after the result.
    """

    document: Mapping[str, Any]
    shown: Sequence[RenderableType]
    failure: EckartError | None = None

    def print_to(self, stream: TextIO, *, as_json: bool) -> None:
        """Print to a stream, all of it or an error: numbers that are not finite become null."""
        if as_json:
            text = json.dumps(_finite(self.document), indent=2, allow_nan=False)
            print(text, file=stream, flush=True)
            return
        console = make_console(stream)
        with console.capture() as shown:  # rich itself would end the program at a broken pipe
            for item in self.shown:
                console.print(item, soft_wrap=isinstance(item, str))
        print(shown.get(), end="", file=stream, flush=True)


def make_console(stream: TextIO) -> Console:
    """A console that does not squeeze tables where the output is a file or a pipe."""
    from rich.console import Console  # here, because refused options need none

    squeeze = stream.isatty() or "COLUMNS" in os.environ
    return Console(file=stream, width=None if squeeze else _WIDE, highlight=False, markup=False)


def file_to_read(path: Path | None) -> Path | None:
    """The path, once it is known to be a file.

    Raises:
        InputError: there is no such file.
    """
    if path is not None and not path.is_file():
        raise InputError(f"{path}: there is no such file")
    return path


def file_to_write(path: Path | None) -> Path | None:
    """The path, once its folder is made: better now than when the work is done.

    Raises:
        InputError: it is a folder.
        WriteError: it cannot be written.
    """
    if path is not None:
        make_folder(path.parent)
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a file")
        writable(path)
    return path


def folder_to_write(path: Path | None) -> Path | None:
    """The path, once the folder is made.

    Raises:
        InputError: it is a file.
    """
    if path is not None:
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file; name a folder")
        make_folder(path)
    return path


def say(message: str) -> None:
    """One line about what is going on, to stderr; that nobody reads it stops no work."""
    with suppress(OSError):
        print(message, file=sys.stderr, flush=True)


def _finite(value: Any) -> Any:
    """The same structure without NaN and infinities, which JSON does not have."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value

"""The formats that a network can be exported to; a new one is one file and one registration."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from eckart.errors import InputError
from eckart.exporting.preparing import Ready


class Format(Protocol):
    """A file that other programs run a network from.

    Attributes:
        name: the name that ``export`` takes.
    """

    @property
    def name(self) -> str:
        """See above."""

    def write(self, network: Ready, path: Path) -> None:
        """Write the file.

        Raises:
            InputError: a library is missing, or the network cannot be traced.
            WriteError: the disk is full, or the file cannot be written.
        """


FORMATS: dict[str, Format] = {}


def register_format(kind: Format) -> None:
    """Make a format known; it replaces an earlier one of the same name."""
    FORMATS[kind.name] = kind


def format_named(name: str) -> Format:
    """The format of that name.

    Raises:
        InputError: it is unknown; the message lists the known ones.
    """
    if name not in FORMATS:
        raise InputError(f"unknown format {name!r:.80}; known: {', '.join(sorted(FORMATS))}")
    return FORMATS[name]

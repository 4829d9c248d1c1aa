"""Careful reading of files that others may have made or damaged, with a limit on JSON."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from eckart.errors import CheckpointError
from eckart.storage.documents import parsed, sealed, unsealed
from eckart.storage.writing import shown, write_json

MAX_JSON_BYTES = 64 * 1024 * 1024  # hostile files may be huge; parsing takes 20 times the memory


@contextmanager
def opened(path: str | Path) -> Iterator[tuple[BinaryIO, int]]:
    """A regular file, open for reading, and its size in bytes.

    Raises:
        CheckpointError: the file is missing, cannot be read, or is a folder, a device or a pipe.
    """
    with told_of_reading(path):
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # do not wait for a pipe
    found = os.fstat(number)
    if not stat.S_ISREG(found.st_mode):
        os.close(number)
        raise CheckpointError(f"cannot read {shown(path)}: it is not a regular file")
    with os.fdopen(number, "rb") as file:
        yield file, found.st_size


@contextmanager
def told_of_reading(path: str | Path) -> Iterator[None]:
    """Raise errors of the system as ``CheckpointError``, which names the file."""
    try:
        yield
    except (OSError, ValueError) as error:  # a null in the name is a ValueError
        raise CheckpointError(f"cannot read {shown(path)}: {error}") from error


def read_json(path: str | Path, most: int = MAX_JSON_BYTES) -> Any:
    """The content of a JSON file.

    Raises:
        CheckpointError: the file is missing, has more bytes than ``most``, or is not JSON.
    """
    with opened(path) as (file, size):
        if size > most:
            raise CheckpointError(
                f"cannot read {shown(path)}: it has {size} bytes, more than the {most} that such a "
                "file may have"
            )
        with told_of_reading(path):
            text = file.read(most)
    with _named(path):
        return parsed(text)


def write_sealed(path: str | Path, value: dict[str, Any]) -> None:
    """Write a dictionary as JSON with a digest of its content, completely or not at all.

    Raises:
        WriteError: see ``storage.writing``.
    """
    write_json(path, sealed(value))


def read_sealed(path: str | Path) -> dict[str, Any]:
    """Read what ``write_sealed`` wrote, check its digest, and return it without the digest.

    Raises:
        CheckpointError: as for ``read_json``, or the content is not what was written.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise CheckpointError(f"{shown(path)} is not a file that eckart wrote")
    with _named(path):
        content: dict[str, Any] = unsealed(value, required=True)
    return content


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"cannot read {shown(path)}: {error}") from error

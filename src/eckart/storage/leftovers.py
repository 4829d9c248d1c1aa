"""Half-written files: their names, and which of them a killed run left behind.

A process that writes a file holds a lock on it. The system releases the lock when the process ends,
however it ends. A file of such a name that no process holds is a leftover.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from eckart.errors import WriteError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_NAME = re.compile(r"\..+\.eckart-[0-9a-f]{8}", re.DOTALL)
_LONGEST = 200  # bytes of a name; most systems allow 255
_DAY_S = 24 * 60 * 60


def opened_beside(target: Path) -> tuple[BinaryIO, Path]:
    """A new, empty file in the target's folder, held by this process, and its path.

    Raises:
        OSError: the file cannot be made.
    """
    while True:
        path = target.parent / _name_for(target.name)
        try:
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        file = os.fdopen(number, "wb")
        _hold(number)
        if _is_at(number, path):
            return file, path
        file.close()  # another process took it for a leftover before it was held


@contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """A new, empty folder beside a file, held by this process and removed at the end.

    Raises:
        WriteError: it cannot be made.
    """
    path = target.parent / _name_for(target.name)
    try:
        path.mkdir()
        number = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise WriteError(f"cannot write in {target.parent}: {error.strerror}") from error
    try:
        _hold(number)
        path.mkdir(exist_ok=True)  # another process may have taken it for a leftover before that
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(number)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Wait until no other process holds a folder, then hold it; without locks, do neither."""
    number = os.open(folder, os.O_RDONLY)
    try:
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed runs left in a folder; files that a living process is writing stay."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if _NAME.fullmatch(entry.name)]
    for name in names:
        with suppress(OSError):  # already gone, or we may not remove it
            _remove_abandoned(folder / name)


def _name_for(name: str) -> str:
    if len(os.fsencode(name)) > _LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{name}.eckart-{secrets.token_hex(4)}"


def _hold(number: int) -> bool | None:
    """Lock an open file; False if another process holds it, None if there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network disks
        return None
    return True


def _remove_abandoned(path: Path) -> None:
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        abandoned = _hold(number)
        if abandoned is None:
            abandoned = time.time() - os.fstat(number).st_mtime > _DAY_S
        if abandoned and _is_at(number, path):
            if stat.S_ISDIR(os.fstat(number).st_mode):
                shutil.rmtree(path)
            else:
                path.unlink()
    finally:
        os.close(number)


def _is_at(number: int, path: Path) -> bool:
    """Whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(number), os.stat(path))
    except FileNotFoundError:
        return False

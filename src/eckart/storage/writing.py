"""The one way to write a file: it is there whole or not at all.

Everything that eckart writes goes through here. Encode first, so that nothing can fail half-way,
and hand over bytes::

    from eckart.storage.writing import write_bytes, write_json, write_text

    write_text("report.html", page)
    write_json("frontier.json", frontier.as_json())
    write_bytes("figure.png", png)

What is too large to hold in memory is written piece by piece, and takes its place at the end::

    with written("sums.bin") as file:
        for block in blocks:
            file.write(block)

Every function raises ``WriteError`` and nothing else: the old file is then as it was, and nothing
new lies beside it. Before hours of work, ask ``writable(path)``, which raises the same errors.
Files of tensors are written by ``eckart.storage.tensors.write_tensors``, which uses ``written``.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from typing import Any, BinaryIO

from eckart.errors import WriteError
from eckart.storage.leftovers import opened_beside, remove_leftovers


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file, whole or not at all; see ``written``."""
    with written(path) as file:
        file.write(data)


def write_text(path: str | Path, text: str) -> None:
    r"""Write a text file in UTF-8, whole or not at all; see ``written``.

    What has no place in UTF-8, such as the odd bytes of a file's name, is written as ``\udcff``.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | Path, value: Any) -> None:
    """Write plain dictionaries, lists and numbers as JSON, whole or not at all; see ``written``."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode("ascii"))


@contextmanager
def written(path: str | Path) -> Iterator[BinaryIO]:
    """A file beside the target, which takes the target's place at the end.

    The bytes are on the disk before that, so a reader, or a machine that loses power, finds the old
    file or the new one. The new file has the mode and, where allowed, the owner of the old one. A
    symbolic link stays, and the file that it points to is written. What runs that were killed left
    in the folder is removed.

    Args:
        path: a regular file, or none yet; its folder exists.

    Raises:
        WriteError: the target is a folder, a device or a pipe, is read-only, or is in no folder;
            the disk is full, or cannot be written to. The old file is as it was. An error of the
            block's own leaves it as it was too.
    """
    target = writable(path)
    with _told(path):
        remove_leftovers(target.parent)
        file, partial = opened_beside(target)
    try:
        with _told(path), file:
            _take_after(file, target)
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(partial, target)
        _settle(target.parent)
    finally:
        with suppress(OSError):
            partial.unlink()


def writable(path: str | Path) -> Path:
    """The file that writing to a path would replace, links followed; nothing is written.

    Raises:
        WriteError: see ``written``.
    """
    if "\0" in str(path):
        raise WriteError(f"cannot write {shown(path)!r}: no name holds a null; give another path")
    with _told(path):
        target = Path(os.path.realpath(path))
        try:
            mode = os.stat(target).st_mode
        except FileNotFoundError:
            _check_folder(path, target.parent)
            return target
        if not stat.S_ISREG(mode):
            raise WriteError(
                f"cannot write {shown(path)}: it is {_kind(mode)}, not a file; give another path"
            )
        if not os.access(target, os.W_OK):
            raise WriteError(
                f"cannot write {shown(path)}: it is read-only; give another path, or make it "
                "writable first"
            )
        _check_folder(path, target.parent)
    return target


def make_folder(path: str | Path) -> Path:
    """A folder, and those that it is in, made if they are not there.

    Raises:
        WriteError: it cannot be made, or something else has its name.
    """
    with _told(path):
        Path(path).mkdir(parents=True, exist_ok=True)
    return Path(path)


def _check_folder(path: str | Path, folder: Path) -> None:
    if not folder.is_dir():
        raise WriteError(
            f"cannot write {shown(path)}: {shown(folder)} is not a folder; make it first, or give "
            "another path"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise WriteError(
            f"cannot write {shown(path)}: the folder {shown(folder)} is read-only; give "
            "another path"
        )


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


@contextmanager
def _told(path: str | Path) -> Iterator[None]:
    """Every error of the system, as one of ours that says what is kept and what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (ENOSPC, EDQUOT, EFBIG)
        advice = "make room, and call again" if full else "give another path, or mend this one"
        raise WriteError(
            f"cannot write {shown(path)}: {error.strerror or error}; what was there before is as "
            f"it was: {advice}"
        ) from error


def _take_after(file: BinaryIO, target: Path) -> None:
    """Give a new file the mode and the owner of the one whose place it will take."""
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return
    with suppress(OSError):  # only root gives files away
        os.fchown(file.fileno(), old.st_uid, old.st_gid)
    os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))


def _settle(folder: Path) -> None:
    """Have the new name on the disk as well, where the system lets a folder be flushed."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def shown(path: str | Path) -> str:
    """A path for a message, also one whose bytes are not UTF-8."""
    return str(path).encode("utf-8", "backslashreplace").decode()

"""The one way to write a file: completely or not at all.

Everything that eckart writes goes through this module. Encode the content first, so that nothing
can fail half-way, and pass bytes::

    from eckart.storage.writing import write_bytes, write_json, write_text

    write_text("report.html", page)
    write_json("frontier.json", frontier.as_json())
    write_bytes("figure.png", png)

Content that is too large for memory is written piece by piece, and put in place at the end::

    with written("sums.bin") as file:
        for block in blocks:
            file.write(block)

Every function raises ``WriteError`` and nothing else. The old file is then unchanged, and no new
file is beside it. Before hours of work, call ``writable(path)``, which raises the same errors.
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
    """Write a file, completely or not at all; see ``written``."""
    with written(path) as file:
        file.write(data)


def write_text(path: str | Path, text: str) -> None:
    r"""Write a text file in UTF-8, completely or not at all; see ``written``.

    Characters that UTF-8 cannot encode, such as odd bytes of a file's name, are written in the form
    ``\udcff``.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | Path, value: Any) -> None:
    """Write plain data as JSON, completely or not at all; see ``written``."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode("ascii"))


@contextmanager
def written(path: str | Path) -> Iterator[BinaryIO]:
    """A new file beside the target; at the end it replaces the target.

    Its bytes are on the disk before that. So a reader, or a machine after a loss of power, finds
    either the old file or the new one. The new file gets the mode and, if allowed, the owner of the
    old one. If the path is a symbolic link, the link stays and the file it points to is replaced.
    What killed runs left in the folder is removed.

    Args:
        path: a regular file, or one that does not exist yet; its folder must exist.

    Raises:
        WriteError: the target is a folder, a device or a pipe; it is read-only, or its folder does
            not exist; or the disk is full or cannot be written to. The old file is unchanged, and
            so it is if the ``with`` block itself raises an error.
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
    """The file that writing to a path would replace, with links resolved; nothing is written.

    Raises:
        WriteError: see ``written``.
    """
    if "\0" in str(path):
        raise WriteError(
            f"cannot write {shown(path)!r}: a name cannot hold a null character; give another path"
        )
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
    """Make a folder and its parents, unless they exist.

    Raises:
        WriteError: the folder cannot be made, or something else has its name.
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
    """Raise errors of the system as ``WriteError``, which says what is kept and what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (ENOSPC, EDQUOT, EFBIG)
        advice = "free some space and call again" if full else "give another path, or fix this one"
        raise WriteError(
            f"cannot write {shown(path)}: {error.strerror or error}; what was there before is "
            f"unchanged: {advice}"
        ) from error


def _take_after(file: BinaryIO, target: Path) -> None:
    """Give a new file the mode and the owner of the file that it will replace."""
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return
    with suppress(OSError):  # only root may give files to another owner
        os.fchown(file.fileno(), old.st_uid, old.st_gid)
    os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))


def _settle(folder: Path) -> None:
    """Put the new name on the disk as well, if the system can flush folders."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def shown(path: str | Path) -> str:
    """A path as text for a message, even if its bytes are not UTF-8."""
    return str(path).encode("utf-8", "backslashreplace").decode()

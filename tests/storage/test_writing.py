"""One writer for every file: old or complete, whatever is at the path or happens on the way."""

import os
import resource
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, EIO, ENOSPC, EROFS
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from eckart.errors import CheckpointError, WriteError
from eckart.storage.tensors import header_of, write_tensors
from eckart.storage.writing import (
    make_folder,
    writable,
    write_bytes,
    write_json,
    write_text,
    written,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def files_of_at_most(most: int) -> Iterator[None]:
    """As on a full disk: what is written beyond so many bytes fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_is_written_and_nothing_lies_beside_it(tmp_path: Path):
    write_bytes(tmp_path / "a", b"one")
    write_bytes(tmp_path / "a", b"two")
    write_text(tmp_path / "b", "naïve → \udcff")
    write_json(tmp_path / "c", {"a": [1, 2.5, "→"]})
    assert (tmp_path / "a").read_bytes() == b"two"
    assert (tmp_path / "b").read_text(encoding="utf-8") == "naïve → \\udcff"
    assert (tmp_path / "c").read_text() == '{\n "a": [\n  1,\n  2.5,\n  "\\u2192"\n ]\n}\n'
    assert names(tmp_path) == ["a", "b", "c"]


@pytest.mark.parametrize("error", [ValueError("block"), KeyboardInterrupt(), OSError(EIO, "disk")])
def test_an_error_in_between_leaves_the_old_file(tmp_path: Path, error: BaseException):
    (tmp_path / "a").write_bytes(b"old")
    expected = WriteError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        _half_written(tmp_path / "a", error)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def _half_written(path: Path, error: BaseException) -> None:
    with written(path) as file:
        file.write(b"half")
        raise error


@pytest.mark.parametrize("size", [100, 1_000_000])
def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path: Path, size: int):
    (tmp_path / "a").write_bytes(b"old")
    with files_of_at_most(50), pytest.raises(WriteError, match=r"cannot write .*a: .*some space"):
        write_bytes(tmp_path / "a", b"x" * size)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("number", "advice"), [(ENOSPC, "space"), (EDQUOT, "space"), (EROFS, "path")]
)
def test_a_disk_that_fails_at_the_last_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
):
    def fails(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "a").write_bytes(b"old")
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, fails)
            with pytest.raises(CheckpointError, match=f"unchanged: .*{advice}"):
                write_text(tmp_path / "a", "new")
        assert names(tmp_path) == ["a"]
        assert (tmp_path / "a").read_bytes() == b"old"


def test_the_mode_of_the_old_file_is_kept_and_a_new_one_follows_the_umask(tmp_path: Path):
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "new", b"")
        write_bytes(tmp_path / "old", b"")
        (tmp_path / "old").chmod(0o604)
        write_bytes(tmp_path / "old", b"changed")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o604


def test_a_link_stays_and_the_file_it_points_to_is_written(tmp_path: Path):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    (tmp_path / "there" / "file").write_bytes(b"old")
    for link, target in {"to_file": "../there/file", "to_nothing": "../there/new"}.items():
        (tmp_path / "here" / link).symlink_to(target)
        write_bytes(tmp_path / "here" / link, b"new")
        assert os.readlink(tmp_path / "here" / link) == target
    assert names(tmp_path / "here") == ["to_file", "to_nothing"]
    assert {p.name: p.read_bytes() for p in (tmp_path / "there").iterdir()} == {
        "file": b"new",
        "new": b"new",
    }


def test_what_is_no_file_is_refused_and_left_alone(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "device").symlink_to("/dev/null")
    (tmp_path / "circle").symlink_to("circle")
    before = names(tmp_path)
    for name, why in {
        "folder": "is a folder",
        "pipe": "is a pipe",
        "device": "is a device",
        "absent/a": "absent is not a folder",
        "file/a": "Not a directory",
        "circle": "symbolic links",
        "x" * 300: "too long",
        "a\0b": "null",
    }.items():
        for write in (writable, lambda path: write_bytes(path, b"new")):
            with pytest.raises(WriteError, match=why):
                write(tmp_path / name)
    assert names(tmp_path) == before
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(WriteError, match=r"cannot write .*file: File exists"):
        make_folder(tmp_path / "file")


@pytest.mark.parametrize(("closed", "name"), [("file", "file"), (".", "file"), (".", "new")])
def test_what_is_read_only_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str, name: str
):
    (tmp_path / "file").write_bytes(b"old")
    read_only = tmp_path / closed  # root may write anywhere, so this is what others are told
    monkeypatch.setattr(os, "access", lambda path, mode: path != read_only)
    with pytest.raises(WriteError, match="read-only"):
        write_bytes(tmp_path / name, b"new")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize("name", [b"\xff\xfe.bin", "→".encode() * 80, b"x" * 255, b"a\nb"])
def test_any_name_that_the_system_takes(tmp_path: Path, name: bytes):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert os.listdir(os.fsencode(tmp_path)) == [name]
    assert path.read_bytes() == b"two"
    path.unlink()
    path.mkdir()
    with pytest.raises(WriteError) as caught:
        write_bytes(path, b"")
    str(caught.value).encode("utf-8")


def halfway(target: Path) -> tuple[int, int]:
    """A process that has written half a file: its id, and a pipe that lets it go on once closed."""
    begun, halted = os.pipe()
    waiting, go_on = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go_on)
        with written(target) as file:
            file.write(b"half")
            file.flush()
            os.write(halted, b"!")
            os.read(waiting, 1)
        os._exit(0)
    os.close(waiting)
    assert os.read(begun, 1) == b"!"
    for number in (begun, halted):
        os.close(number)
    return child, go_on


def test_leftovers_of_killed_runs_are_removed_and_those_of_living_ones_are_not(tmp_path: Path):
    living, go_on = halfway(tmp_path / "a")
    killed, _ = halfway(tmp_path / "a")
    os.kill(killed, signal.SIGKILL)
    os.waitpid(killed, 0)
    assert len(names(tmp_path)) == 2
    (tmp_path / ".mine.eckart-x").write_bytes(b"")
    write_bytes(tmp_path / "b", b"other")
    assert len(names(tmp_path)) == 3
    os.close(go_on)
    assert os.waitpid(living, 0)[1] == 0
    assert names(tmp_path) == [".mine.eckart-x", "a", "b"]
    assert (tmp_path / "a").read_bytes() == b"half"


def test_after_a_kill_at_any_moment_it_is_the_old_file_or_the_new_one(tmp_path: Path):
    """A child writes 1 MB again and again; every file that is found after it died is whole."""
    target, size = tmp_path / "a", 1_000_000
    found = set()
    for round_ in range(100):  # on a busy machine the first kills come before the first file
        child = os.fork()
        if child == 0:
            for value in range(256):
                write_bytes(target, bytes([value]) * size)
            os._exit(0)
        signal.sigtimedwait([], 0.004 * (round_ + 1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if target.exists():
            content = target.read_bytes()
            assert content == content[:1] * size
            found.add(content[0])
        if round_ >= 11 and len(found) > 1:
            break
    assert len(found) > 1
    write_bytes(target, b"")
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.bfloat16, torch.int8, torch.bool, torch.complex64]
)
def test_tensors_are_written_as_safetensors_reads_them(tmp_path: Path, dtype: torch.dtype):
    tensors = {
        "plain": torch.arange(6).reshape(2, 3).to(dtype),
        "turned": torch.arange(6).reshape(2, 3).to(dtype).T,
        "expanded": torch.ones(1, dtype=dtype).expand(3, 2),
        "scalar": torch.ones((), dtype=dtype),
        "empty": torch.ones(0, 3, dtype=dtype),
        "mixed": torch.ones(3, dtype=torch.uint8),
    }
    write_tensors(tmp_path / "file", tensors, {"format": "→"})
    found = load_file(tmp_path / "file")
    assert header_of(tmp_path / "file")["format"] == "→"
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)

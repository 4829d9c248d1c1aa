"""Files of tensors: written completely or not at all, read header first, with digests checked."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO, final

import torch
from torch import Tensor

from eckart.errors import CheckpointError
from eckart.storage.digests import BLOCK_BYTES
from eckart.storage.header import (
    Entry,
    Header,
    Outline,
    bytes_of,
    encoded,
    header_for,
    read_header,
)
from eckart.storage.reading import opened, told_of_reading
from eckart.storage.writing import shown, written


@final
@dataclass(frozen=True)
class TensorFile:
    """An open file of tensors, whose header was read and checked.

    Attributes:
        path: of the file, for messages.
        header: names, shapes, dtypes, digests and metadata.
    """

    path: Path
    header: Header
    _file: BinaryIO

    def __contains__(self, name: str) -> bool:
        return name in self.header.entries

    def read(self, name: str) -> Tensor:
        """One tensor, in its own memory; the others are not read.

        Raises:
            CheckpointError: there is no tensor of that name, or its numbers are not those that
                were written.

        Cost: reading and hashing, block by block. Hashing runs at 1.2 GB/s on one core.
        """
        entry = self._entry(name)
        try:
            tensor = torch.empty(entry.shape, dtype=entry.dtype)
        except (RuntimeError, TypeError) as error:
            raise CheckpointError(f"cannot read {shown(self.path)}: {error}") from error
        whole = tensor.flatten().view(torch.uint8).numpy().data
        digest = hashlib.sha256()
        self._file.seek(self.header.start + entry.begin)
        for begin in range(0, len(whole), BLOCK_BYTES):
            block = whole[begin : begin + BLOCK_BYTES]
            with told_of_reading(self.path):
                found = self._file.readinto(block)  # type: ignore[attr-defined]
            if found != len(block):
                raise CheckpointError(f"cannot read {shown(self.path)}: it ends early")
            digest.update(block)
        self._check(name, entry, digest.hexdigest())
        return tensor

    def read_finite(self, name: str) -> Tensor:
        """One tensor, which must not hold NaN or infinity.

        Raises:
            CheckpointError: as for ``read``, or the tensor holds NaN or infinity.
        """
        tensor = self.read(name)
        ends = torch.stack(tensor.aminmax()) if tensor.numel() else tensor  # NaN is among them
        if not bool(torch.isfinite(ends).all()):
            raise CheckpointError(f"{shown(self.path)}: {name!r:.80} holds NaN or infinity")
        return tensor

    def check(self) -> None:
        """Check the numbers of every tensor, a block at a time.

        Raises:
            CheckpointError: some are not what was written; the message names the tensor.
        """
        for name, entry in self.header.entries.items():
            digest = hashlib.sha256()
            self._file.seek(self.header.start + entry.begin)
            for begin in range(entry.begin, entry.end, BLOCK_BYTES):
                with told_of_reading(self.path):
                    digest.update(self._file.read(min(BLOCK_BYTES, entry.end - begin)))
            self._check(name, entry, digest.hexdigest())

    def mapped(self) -> dict[str, Tensor]:
        """All tensors as views of the file. The system reads only the parts that are used.

        They are not checked here; see ``check``.
        """
        entries = self.header.entries.items()
        if not any(entry.end for _, entry in entries):
            return {name: torch.empty(entry.shape, dtype=entry.dtype) for name, entry in entries}
        whole = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)
        return {name: self._view(whole, entry) for name, entry in entries}

    def _view(self, whole: mmap.mmap, entry: Entry) -> Tensor:
        count = prod(entry.shape)
        if not count:
            return torch.empty(entry.shape, dtype=entry.dtype)
        start = self.header.start + entry.begin
        return torch.frombuffer(whole, dtype=entry.dtype, count=count, offset=start).reshape(
            entry.shape
        )

    def _entry(self, name: str) -> Entry:
        if name not in self.header.entries:
            raise CheckpointError(f"{shown(self.path)} holds no tensor {name!r:.80}")
        return self.header.entries[name]

    def _check(self, name: str, entry: Entry, digest: str) -> None:
        if digest != entry.digest:
            raise CheckpointError(
                f"{shown(self.path)} is damaged: the numbers of {name!r:.80} are not those that "
                "were written"
            )


@contextmanager
def opened_tensors(path: str | Path, header: Header | None = None) -> Iterator[TensorFile]:
    """A file that ``write_tensors`` wrote, open for reading.

    Args:
        path: of the file.
        header: of the file, if it was read before; None reads it.

    Raises:
        CheckpointError: the file is missing, damaged, or was written by another tool.
    """
    with opened(path) as (file, size):
        if header is None:
            try:
                header = read_header(file, size)
            except (OSError, CheckpointError) as error:
                raise CheckpointError(f"cannot read {shown(path)}: {error}") from error
        yield TensorFile(Path(path), header, file)


def read_tensors(path: Path, names: Sequence[str]) -> list[Tensor]:
    """Some tensors of a file, each in its own memory; the others are not read.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    with told_to_delete(), opened_tensors(path) as file:
        return [file.read(name) for name in names]


def header_of(path: Path) -> dict[str, str]:
    """The metadata of a file.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    with told_to_delete(), opened_tensors(path) as file:
        return dict(file.header.metadata)


def outlines_of(path: Path) -> dict[str, Outline]:
    """Shape and dtype of every tensor in the file; none of them is read.

    Raises:
        CheckpointError: the file is missing, damaged, or was written by another tool.
    """
    with opened_tensors(path) as file:
        return file.header.outlines


@contextmanager
def told_to_delete() -> Iterator[None]:
    """Add to the message of an error what to do about a damaged file of a workspace."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{error}; delete it, and the same call makes it again") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file with digests, completely or not at all; see ``storage.writing``.

    Args:
        path: of the file.
        tensors: by name; they are copied to the CPU one at a time.
        metadata: texts to write with the tensors.

    Raises:
        InputError: a tensor cannot be stored as it is.
        WriteError: the disk is full, or cannot be written to.

    Cost: hashing at 1.2 GB/s on one core, and writing.
    """
    write_with_header(path, tensors, header_for(tensors, metadata))


def write_with_header(path: Path, tensors: Mapping[str, Tensor], header: Header) -> None:
    """Write tensors with the header that was made for them, as ``write_tensors`` does."""
    with written(path) as file:
        file.write(encoded(header))
        for name in header.entries:
            file.write(bytes_of(tensors[name]))

"""What describes a small network, in as few bytes as its numbers deserve.

Names, shapes and digests of a hundred tensors take 25 kB as plain JSON. That is nothing beside
megabytes of weights, and a third of a network whose weights are in codes of few bits.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from eckart.errors import MALFORMED, CheckpointError
from eckart.storage.documents import parsed
from eckart.storage.header import DTYPES, MOST_AXES, NAMES, Outline, bytes_of
from eckart.storage.reading import MAX_JSON_BYTES
from eckart.storage.tensors import TensorFile
from eckart.storage.writing import shown

_JOINED, _LAYOUT = "eckart.joined", "eckart.layout"


def squeezed(value: Any) -> str:
    """Plain data as a short text: JSON, compressed, in base 85."""
    text = json.dumps(value, separators=(",", ":")).encode("ascii")
    return base64.b85encode(zlib.compress(text, 9)).decode("ascii")


def expanded(text: Any) -> Any:
    """The inverse of ``squeezed``; the text need not be trusted.

    Raises:
        CheckpointError: it is not such a text, or would be longer than any JSON may be.
    """
    try:
        inflating = zlib.decompressobj()
        found = inflating.decompress(base64.b85decode(text), MAX_JSON_BYTES)
    except (*MALFORMED, zlib.error) as error:
        raise CheckpointError(f"what is compressed in it is damaged: {error!s:.100}") from error
    if not inflating.eof or inflating.unused_data:
        raise CheckpointError("what is compressed in it is cut short, or too long")
    return parsed(found)


def joined(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors as one of bytes, and the metadata that say where each of them is."""
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    whole = bytearray(b"".join(bytes_of(tensors[name]) for name in names))
    layout = [[name, NAMES[tensors[name].dtype], list(tensors[name].shape)] for name in names]
    whole_one = torch.frombuffer(whole, dtype=torch.uint8) if whole else torch.empty(0).byte()
    return {_JOINED: whole_one}, {_LAYOUT: squeezed(layout)}


@final
@dataclass(frozen=True)
class Weights:
    """The tensors of an open file, each alone in it or joined.

    Attributes:
        path: of the file, for messages.
        outlines: shape and dtype by name.
        starts: by name, where a tensor's bytes begin among the joined ones; None if none are.
    """

    path: Path
    outlines: Mapping[str, Outline]
    starts: Mapping[str, int] | None
    _file: TensorFile

    @classmethod
    def of(cls, file: TensorFile) -> Weights:
        """The tensors of a file.

        Raises:
            CheckpointError: it says that they are joined, and does not hold their bytes.
        """
        header = file.header
        if _LAYOUT not in header.metadata:
            return cls(file.path, header.outlines, None, file)
        try:
            outlines = _outlines(expanded(header.metadata[_LAYOUT]))
        except (CheckpointError, *MALFORMED) as error:
            raise CheckpointError(f"cannot read {shown(file.path)}: {error!s:.200}") from error
        starts, end = {}, 0
        for name, (shape, dtype) in outlines.items():
            starts[name], end = end, end + prod(shape) * dtype.itemsize
        if header.outlines != {_JOINED: ((end,), torch.uint8)}:
            raise CheckpointError(
                f"{shown(file.path)} is to hold {end} bytes of joined tensors, and does not"
            )
        return cls(file.path, outlines, starts, file)

    def check(self) -> None:
        """Check all numbers; see ``TensorFile.check``."""
        self._file.check()

    def mapped(self) -> dict[str, Tensor]:
        """All tensors as views of the file; see ``TensorFile.mapped``."""
        found = self._file.mapped()
        if self.starts is None:
            return found
        return {name: self._view(found[_JOINED], name) for name in self.outlines}

    def _view(self, whole: Tensor, name: str) -> Tensor:
        (shape, dtype), start = self.outlines[name], (self.starts or {})[name]
        part = whole[start : start + prod(shape) * dtype.itemsize]
        return part.view(dtype).reshape(shape) if len(part) else torch.empty(shape, dtype=dtype)


def _outlines(layout: Any) -> dict[str, Outline]:
    """Shape and dtype of the joined tensors, in their order."""
    outlines: dict[str, Outline] = {}
    before = 8
    for name, dtype, shape in layout:
        sizes = all(type(size) is int and 0 <= size < 2**63 for size in shape)
        if type(name) is not str or name in outlines or len(shape) > MOST_AXES or not sizes:
            raise ValueError("a name, or a shape, of the joined tensors cannot be right")
        outlines[name] = (tuple(shape), DTYPES[dtype])
        if DTYPES[dtype].itemsize > before:
            raise ValueError("its joined tensors are not in the order of their numbers' sizes")
        before = DTYPES[dtype].itemsize
    return outlines

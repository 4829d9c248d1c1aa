"""The header of a safetensors file: what is in the file, where, and the digests of everything.

Eight bytes give the length of the header. The header is JSON; the numbers of the tensors follow it.
The metadata hold the SHA-256 of every tensor's bytes, and one over names, shapes, dtypes, these
digests and the other metadata. So reading the header checks the header itself, and each tensor can
be checked when it is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

import torch
from torch import Tensor

from eckart.errors import MALFORMED, CheckpointError, InputError
from eckart.storage.digests import digest_of_bytes, digest_of_json
from eckart.storage.reading import MAX_JSON_BYTES

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
_METADATA, _TENSORS, _WHOLE = "__metadata__", "eckart.tensors", "eckart.digest"
MOST_AXES = 64

Outline = tuple[tuple[int, ...], torch.dtype]


@dataclass(frozen=True)
class Entry:
    """One tensor of a file.

    Attributes:
        shape: of the tensor.
        dtype: of its entries.
        begin, end: position of its bytes, counted from the end of the header.
        digest: the SHA-256 of its bytes.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    begin: int
    end: int
    digest: str


@dataclass(frozen=True)
class Header:
    """What a file of tensors holds.

    Attributes:
        entries: by name, in the order of the file.
        metadata: texts that were written with the tensors.
        digest: of all of this; two files with the same digest hold the same.
        start: position in the file where the numbers begin; 0 before the file is written.
    """

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    digest: str
    start: int = 0

    @property
    def outlines(self) -> dict[str, Outline]:
        """Shape and dtype of every tensor."""
        return {name: (entry.shape, entry.dtype) for name, entry in self.entries.items()}


def header_for(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Header:
    """The header of a file of these tensors; each tensor is hashed.

    Raises:
        InputError: a tensor cannot be stored as it is.

    Cost: one pass over the numbers, at 1.2 GB/s.
    """
    for name, tensor in tensors.items():
        check_storable(name, tensor)
    laid_out = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    entries: dict[str, Entry] = {}
    end = 0
    for name in laid_out:
        tensor, begin = tensors[name], end
        end += tensor.numel() * tensor.element_size()
        digest = digest_of_bytes(bytes_of(tensor))
        entries[name] = Entry(tuple(tensor.shape), tensor.dtype, begin, end, digest)
    return Header(entries, dict(metadata), _digest(entries, metadata))


def check_storable(name: str, tensor: Tensor) -> None:
    """Raise ``InputError`` for a tensor that a file cannot hold; the message says what to do."""
    if tensor.is_meta:
        why = "is on the meta device and has no numbers: give the network memory and weights first"
    elif tensor.layout != torch.strided:
        why = f"is sparse ({tensor.layout}): make it dense first, with .to_dense()"
    elif tensor.is_quantized or tensor.dtype not in NAMES:
        why = f"has the dtype {tensor.dtype}, which safetensors cannot hold: convert it first"
    else:
        return
    raise InputError(f"the tensor {name!r:.80} {why}")


def bytes_of(tensor: Tensor) -> memoryview:
    """The bytes of a tensor's entries, in the order of its axes."""
    flat = tensor.detach().cpu().contiguous().resolve_conj().resolve_neg().flatten()
    return flat.view(torch.uint8).numpy().data


def encoded(header: Header) -> bytes:
    """The bytes of the header, as at the beginning of a file."""
    digests = {name: entry.digest for name, entry in header.entries.items()}
    described: dict[str, Any] = {
        _METADATA: {
            **header.metadata,
            _TENSORS: json.dumps(digests),
            _WHOLE: header.digest,
        }
    }
    for name, entry in header.entries.items():
        described[name] = {
            "dtype": NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [entry.begin, entry.end],
        }
    text = json.dumps(described).encode("ascii")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def read_header(file: BinaryIO, size: int) -> Header:
    """The header at the beginning of a file.

    What the header says is compared with the size of the file before memory is allocated for it.

    Args:
        file: at its beginning.
        size: of the file, in bytes.

    Raises:
        CheckpointError: the file is not a complete safetensors file, has no digests by eckart, or
            its header was changed after it was written.
    """
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise CheckpointError("it is cut short, or not a safetensors file")
    if length > MAX_JSON_BYTES:
        raise CheckpointError(f"its header has {length} bytes, more than {MAX_JSON_BYTES}")
    try:
        return _parsed(json.loads(file.read(length)), 8 + length, size)
    except MALFORMED as error:
        raise CheckpointError(f"its header is damaged: {error}") from error


def _parsed(described: dict[str, Any], start: int, size: int) -> Header:
    metadata = described.pop(_METADATA, {})
    if not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("metadata must be texts")
    if _WHOLE not in metadata:
        raise CheckpointError(
            f"it has no digests, and its format is {metadata.get('format', 'none')!r:.60}: another "
            "tool or an older version of eckart wrote it; make it again"
        )
    whole, digests = metadata.pop(_WHOLE), json.loads(metadata.pop(_TENSORS))
    if digests.keys() != described.keys():
        raise ValueError("tensors and digests differ in number or name")
    entries = {name: _entry(raw, digests[name]) for name, raw in described.items()}
    end = 0
    for entry in sorted(entries.values(), key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != end:
            raise ValueError("its tensors overlap or leave gaps")
        end = entry.end
    if end != size - start:
        raise CheckpointError(f"it has {size} bytes, but by its header it has {start + end}")
    header = Header(entries, metadata, whole, start)
    if _digest(entries, metadata) != whole:
        raise CheckpointError("its header was changed or damaged after it was written")
    return header


def _entry(raw: dict[str, Any], digest: Any) -> Entry:
    dtype, shape, (begin, end) = DTYPES[raw["dtype"]], raw["shape"], raw["data_offsets"]
    numbers = [*shape, begin, end]
    if len(shape) > MOST_AXES or not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
        raise ValueError("a shape or a position in the file is not made of whole numbers")
    if end - begin != prod(shape) * dtype.itemsize or not isinstance(digest, str):
        raise ValueError("the size of a tensor does not match its shape")
    return Entry(tuple(shape), dtype, begin, end, digest)


def _digest(entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> str:
    described = {n: [NAMES[e.dtype], list(e.shape), e.digest] for n, e in entries.items()}
    return digest_of_json([dict(metadata), described])

"""Files of tensors: written whole or not at all, read by header first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from eckart.errors import CheckpointError
from eckart.storage.writing import written


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot read {path}: {error}; delete it, and the same call makes it again"
        ) from error


def read_tensors(path: Path, names: Sequence[str]) -> list[Tensor]:
    """Some tensors of a file; what of them is not touched is not read either.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    with _open(path) as file:
        return [file.get_tensor(name) for name in names]


def header_of(path: Path) -> dict[str, str]:
    """The metadata of a file.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    with _open(path) as file:
        return file.metadata() or {}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, whole or not at all; a tensor at a time goes through the memory.

    Raises:
        WriteError: the disk is full, or cannot be written to; see ``storage.writing``.
    """
    laid_out = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in laid_out:
        begin, end = end, end + tensors[name].numel() * tensors[name].element_size()
        header[name] = {
            "dtype": _NAMES[tensors[name].dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [begin, end],
        }
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with written(path) as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for name in laid_out:
            file.write(_bytes_of(tensors[name]))


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


MAX_JSON_BYTES = 64 * 1024 * 1024  # of what lies beside the weights; a hostile file may be vast


Outline = tuple[tuple[int, ...], torch.dtype]


_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}


_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def outlines_of(path: Path) -> dict[str, Outline]:
    """Shape and dtype of every tensor in the file; none of them is read.

    Raises:
        CheckpointError: the file is missing, truncated, or no safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {n: (tuple(s.get_shape()), _DTYPES[s.get_dtype()]) for n, s in slices.items()}
    except (OSError, SafetensorError, KeyError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error

"""Files of states: tensors as safetensors, the rest as JSON. The types come only from the code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import torch
from jaxtyping import AbstractArray, Float, jaxtyped
from torch import Tensor

from eckart.errors import MALFORMED, CheckpointError
from eckart.records import Piece
from eckart.records.reading import read
from eckart.storage.header import bytes_of, encoded, header_for, read_header
from eckart.storage.tensors import TensorFile, opened_tensors, told_to_delete, write_tensors
from eckart.storage.writing import make_folder

FORMAT = "eckart.state/1"
_MATRIX = Float[Tensor, "groups out in"]
_TENSOR = "tensor"  # the key under which the JSON has the number of a tensor


def write_state(path: Path, state: Any, title: str) -> None:
    """Write a state, completely or not at all.

    Raises:
        WriteError: the disk is full, or cannot be written to.
    """
    make_folder(path.parent)
    write_tensors(path, *_packed(state, title))


def as_bytes(state: Any, title: str) -> bytes:
    """What ``write_state`` would write, to be sent to another process."""
    tensors, about = _packed(state, title)
    header = header_for(tensors, about)
    return b"".join([encoded(header), *(bytes_of(tensors[name]) for name in header.entries)])


def from_bytes(data: bytes, kind: type[Any], title: str, device: torch.device) -> Any:
    """The state in what ``as_bytes`` gave; see ``read_state``.

    Raises:
        CheckpointError: the bytes are damaged, or are something else.
    """
    file = BytesIO(data)
    found = TensorFile(Path(title), read_header(file, len(data)), file)
    return _unpacked(found, kind, title, device)


def _packed(state: Any, title: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors by number, and what says where they belong."""
    tensors: list[Tensor] = []
    structure = json.dumps(_outlined(state, tensors))
    named = {str(i): tensor.contiguous() for i, tensor in enumerate(tensors)}
    return named, {"format": FORMAT, "title": title, "structure": structure}


def read_state(path: Path, kind: type[Any], title: str, device: torch.device) -> Any:
    """The state in a file, equal to the bit to what was written.

    Args:
        path: of the file.
        kind: dataclass of the state.
        title: that the state was written with.
        device: for its tensors.

    Raises:
        CheckpointError: the file is damaged, or holds something else.
    """
    with told_to_delete(), opened_tensors(path) as file:
        return _unpacked(file, kind, title, device)


def _unpacked(file: TensorFile, kind: type[Any], title: str, device: torch.device) -> Any:
    about = file.header.metadata
    if (about.get("format"), about.get("title")) != (FORMAT, title):
        raise CheckpointError(f"{file.path} is not the state {title!r}")
    with _told_of_damage(file.path):
        structure = json.loads(about["structure"])
        names = sorted(set(_numbers(structure)))
    tensors = {number: file.read_finite(str(number)).to(device) for number in names}
    with _told_of_damage(file.path):
        return _rebuilt(structure, kind, tensors)


@contextmanager
def _told_of_damage(path: Path) -> Iterator[None]:
    """Say which file is damaged."""
    try:
        yield
    except (CheckpointError, *MALFORMED) as error:
        raise CheckpointError(f"{path} is damaged ({error!s:.120})") from error


def _outlined(value: Any, tensors: list[Tensor]) -> Any:
    """A value as JSON. Its tensors are appended to the list; their numbers stand for them."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return {_TENSOR: len(tensors) - 1}
    if isinstance(value, tuple):
        return [_outlined(part, tensors) for part in value]
    if is_dataclass(value):
        return {
            field.name: _outlined(getattr(value, field.name), tensors) for field in fields(value)
        }
    return value


def _numbers(structure: Any) -> list[int]:
    """The numbers of all tensors in a structure."""
    if isinstance(structure, dict):
        if structure.keys() == {_TENSOR}:
            return [int(structure[_TENSOR])]
        structure = list(structure.values())
    return [n for part in structure for n in _numbers(part)] if isinstance(structure, list) else []


def _rebuilt(structure: Any, kind: Any, tensors: dict[int, Tensor]) -> Any:
    """A value of a kind: a dataclass, a tuple, a number, a text, or else a tensor.

    Raises:
        KeyError, TypeError, ValueError: the structure does not fit the kind.
    """
    if kind is Piece:
        return read(Piece, structure)
    if is_dataclass(kind):
        made: Any = kind
        hints, parts = get_type_hints(kind), dict(structure)
        values = {k: _rebuilt(part, hints[k], tensors) for k, part in parts.items()}
        _check_shapes(values, hints)
        return made(**values)
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        kinds = [inner[0]] * len(structure) if inner[-1] is ... else inner
        return tuple(_rebuilt(p, k, tensors) for p, k in zip(structure, kinds, strict=True))
    if kind in (bool, int, float, str):
        if not isinstance(structure, (int, float) if kind is float else kind):
            raise TypeError(f"{structure!r:.40} is not a {kind.__name__}")
        return structure
    return tensors[structure[_TENSOR]]


def _check_shapes(values: dict[str, Any], hints: dict[str, Any]) -> None:
    """Check that every tensor has the shape and dtype of its annotation, and that shapes agree.

    If the state belongs to a layer, groups, out and in are those of the layer's matrix.

    Raises:
        ValueError: a tensor does not fit.
    """
    piece = values.get("piece")
    with jaxtyped("context"):
        if isinstance(piece, Piece):
            isinstance(torch.empty(piece.matrix_shape, device="meta"), _MATRIX)  # binds the axes
        for name, value in values.items():
            hint = hints[name]
            annotated = isinstance(hint, type) and issubclass(hint, AbstractArray)
            if annotated and not isinstance(value, hint):
                raise ValueError(f"{name} does not have the shape and dtype that it must have")

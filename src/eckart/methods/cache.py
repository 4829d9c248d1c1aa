"""Decompositions that are kept, beside the moments they belong to, so that they are made once."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, final
from urllib.parse import quote

import torch
from torch import Tensor

from eckart.errors import CheckpointError
from eckart.storage.tensors import header_of, read_tensors, write_tensors
from eckart.storage.writing import make_folder

FORMAT = "eckart.decomposition/2"
_log = logging.getLogger("eckart")

D = TypeVar("D")  # a dataclass of tensors and numbers


class Memory(ABC):
    """What was decomposed of one layer, by a title."""

    @abstractmethod
    def recall(self, kind: type[D], title: str, make: Callable[[], D]) -> D:
        """A decomposition, made if it is not there."""

    def field(self, name: str, kind: type[D], title: str, make: Callable[[], D]) -> Any:
        """One part of it."""
        return getattr(self.recall(kind, title, make), name)


@final
class Forgetful(Memory):
    """Keeps nothing."""

    def recall(self, kind: type[D], title: str, make: Callable[[], D]) -> D:
        """A decomposition, made anew."""
        return make()


@final
@dataclass(frozen=True)
class Held(Memory):
    """In memory, the first that fit.

    Attributes:
        found: of all layers, by layer, title and device.
        most: bytes that all of them may take.
        layer: its name and the damping.
        device: that it is decomposed on.
    """

    found: dict[Any, Any]
    most: int
    layer: str
    device: torch.device

    def recall(self, kind: type[D], title: str, make: Callable[[], D]) -> D:
        """A decomposition, made if it is not held; the very same numbers."""
        key = self.layer, title, self.device
        held = self.found.get(key)
        if isinstance(held, kind):
            return held
        made = make()
        if sum(map(_nbytes, self.found.values())) + _nbytes(made) <= self.most:
            self.found[key] = made
        return made


def _nbytes(made: Any) -> int:
    return sum(value.nbytes for value in vars(made).values() if isinstance(value, Tensor))


@final
@dataclass(frozen=True)
class OnDisk(Memory):
    """One file for each decomposition.

    Factors are kept in float32, those of a float64 layer in float64: nested ones of a layer of
    out×in are ``min(out, in)·(out + in)`` numbers. Losses are float64.

    Attributes:
        directory: where the files are.
        layer: its name and the damping, which the file's name begins with.
        dtype: of the layer's weight.
    """

    directory: Path
    layer: str
    dtype: torch.dtype

    def recall(self, kind: type[D], title: str, make: Callable[[], D]) -> D:
        """A decomposition, made if there is no file of it."""
        names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
        found = read_tensors(self._made(title, make), names)
        return kind(**{name: _value(t) for name, t in zip(names, found, strict=True)})

    def field(self, name: str, kind: type[D], title: str, make: Callable[[], D]) -> Any:
        """One part of it; the others are left where they are."""
        return _value(read_tensors(self._made(title, make), [name])[0].clone())

    def _made(self, method: str, make: Callable[[], D]) -> Path:
        """The file of a decomposition, written if there is none."""
        title = {"format": FORMAT, "layer": self.layer, "method": method}
        path = self.directory / f"{quote(f'{self.layer} {method}', safe=' ')}.safetensors"
        if path.exists():
            if header_of(path) != title:
                raise CheckpointError(f"{path} is no decomposition {title}: delete it")
            return path
        _log.info("decomposing %s", path.name)
        dtype = torch.promote_types(self.dtype, torch.float32)
        stored = {}
        for name, value in vars(make()).items():
            tensor = torch.as_tensor(value, dtype=torch.float64).contiguous()
            stored[name] = tensor if name in ("loss", "losses") else tensor.to(dtype)
        make_folder(path.parent)
        write_tensors(path, stored, title)
        return path


def _value(stored: Tensor) -> Tensor | float:
    """As it was before it was written."""
    return stored.double() if stored.ndim else float(stored)

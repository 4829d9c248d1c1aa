"""Which inputs of layers in a pass are the same tensor, read with the same geometry."""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class _Read:
    tensor: weakref.ref[Tensor]
    version: int
    geometry: Hashable


@dataclass
class DistinctInputs:
    """Numbers the distinct inputs in the order in which they are first read; keeps none alive.

    A tensor that was changed in place counts as another input, and so does one that is read with
    another geometry.
    """

    _read: list[_Read] = field(default_factory=list)
    _by_id: dict[int, list[int]] = field(default_factory=dict)

    def index(self, x: Tensor, geometry: Hashable) -> int:
        """The number of an input; a new one gets the next number, from 0."""
        version = -1 if x.is_inference() else x._version
        known = self._by_id.setdefault(id(x), [])
        for index in known:
            read = self._read[index]
            if read.tensor() is x and (read.version, read.geometry) == (version, geometry):
                return index
        known.append(len(self._read))
        self._read.append(_Read(weakref.ref(x), version, geometry))
        return known[-1]

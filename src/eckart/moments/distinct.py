"""Which tensors of a pass are one and the same, as layers of one geometry read them."""

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
    """Numbers each distinct input, in the order of its first reading; none is kept alive.

    A tensor that was changed in place is another, as is one that is read under another geometry.
    """

    _read: list[_Read] = field(default_factory=list)
    _by_id: dict[int, list[int]] = field(default_factory=dict)

    def index(self, x: Tensor, geometry: Hashable) -> int:
        """The number of an input; that of a new one is how many there were before."""
        version = -1 if x.is_inference() else x._version
        known = self._by_id.setdefault(id(x), [])
        for index in known:
            read = self._read[index]
            if read.tensor() is x and (read.version, read.geometry) == (version, geometry):
                return index
        known.append(len(self._read))
        self._read.append(_Read(weakref.ref(x), version, geometry))
        return known[-1]

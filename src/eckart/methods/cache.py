"""States of layers, each prepared once: the one place where decompositions are kept.

Whoever needs a state asks the cache. It finds it in memory, or in the workspace that the moments
are in, or lets the method prepare it. What is found is what would be prepared, to the bit, so a
cache changes how long something takes and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, final
from urllib.parse import quote

from torch import Tensor

from eckart.methods.problem import Problem
from eckart.methods.registry import Method
from eckart.methods.state_file import read_state, write_state
from eckart.moments import Moments
from eckart.records import States

LEAST_BYTES = 2**28  # that may be held, however small the moments are
_log = logging.getLogger("eckart")
S = TypeVar("S")


@final
class Cache:
    """States by title: the first that fit are held in memory, or all lie in a workspace.

    States of narrowed layers, of which there are many, are held in memory alone.

    Args:
        most_bytes: that may be held beside what was found before.
        directory: of the files of states; None keeps states in memory.
        found: states that were prepared before.
    """

    def __init__(
        self,
        most_bytes: int,
        directory: Path | None = None,
        found: Mapping[str, Any] | None = None,
    ) -> None:
        self.most_bytes, self.directory = most_bytes, directory
        self._found, self._bytes = dict(found or {}), 0

    @classmethod
    def beside(cls, moments: Moments, found: Mapping[str, Any] | None = None) -> Cache:
        """In the workspace of some moments; else in memory, up to as many bytes as they take."""
        return cls(max(moments.nbytes, LEAST_BYTES), moments.decompositions, found)

    @property
    def states(self) -> States:
        """What is held, as it is now."""
        return States(self._found)

    def state(self, method: Method, problem: Problem) -> Any:
        """What a method prepares for a problem; prepared at each call where it has no title."""
        make = partial(_prepared, method, problem)
        if not problem.title:
            return make()
        title = f"{problem.title} {_prepared_as(method)}"
        if self.directory is None or problem.narrowed:
            return self.held(title, make)
        path = self.directory / f"{quote(title, safe=' ')}.safetensors"
        if path.exists():
            return read_state(path, method.state, title, problem.weight.device)
        _log.info("decomposing %s", path.name)
        made = make()
        write_state(path, made, title)
        return made

    def weight(self, problem: Problem) -> Tensor:
        """The weight of a problem; where channels were taken, the refit is kept as a state is."""
        if not (problem.title and problem.narrowed):
            return problem.weight
        return self.held(f"{problem.title} weight", lambda: problem.weight)

    def held(self, title: str, make: Callable[[], S]) -> S:
        """What is held under a title; made, and held if it fits, where there is nothing."""
        if title in self._found:
            found: S = self._found[title]
            return found
        made = make()
        size = _nbytes(made)
        if self._bytes + size <= self.most_bytes:
            self._found[title] = made
            self._bytes += size
        return made


def _prepared_as(method: Method) -> str:
    """What a method's states are known by: its ``prepared_as``, or its module and name."""
    return getattr(method, "prepared_as", f"{type(method).__module__}.{method.name}")


def _prepared(method: Method, problem: Problem) -> Any:
    """A state as a file would hold it: the layout of a tensor decides how its sums are rounded."""
    return _settled(method.prepare(problem))


def _settled(value: Any) -> Any:
    """A value whose tensors are rows after rows, each with a storage of its own."""
    if isinstance(value, Tensor):
        alone = value.untyped_storage().nbytes() == value.nbytes
        return value if alone and value.is_contiguous() else value.contiguous().clone()
    if isinstance(value, tuple):
        return tuple(map(_settled, value))
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: _settled(getattr(value, field.name)) for field in fields(value)}
        return replace(value, **parts)
    return value


def _nbytes(value: Any) -> int:
    """Bytes of all tensors in a state."""
    if isinstance(value, Tensor):
        return value.nbytes
    if is_dataclass(value):
        return sum(_nbytes(getattr(value, field.name)) for field in fields(value))
    return sum(map(_nbytes, value)) if isinstance(value, tuple) else 0

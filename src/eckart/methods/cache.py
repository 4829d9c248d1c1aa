"""The states of layers, each prepared once. This is the one place that keeps decompositions.

Code that needs a state asks the cache. The cache looks in memory and in the workspace of the
moments; if the state is in neither, the method prepares it. A stored state equals a prepared one to
the bit, so a cache changes how long something takes and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, final
from urllib.parse import quote

import torch
from torch import Tensor

from eckart.errors import CheckpointError
from eckart.methods.problem import Problem
from eckart.methods.registry import Preparing
from eckart.methods.state_file import read_state, write_state
from eckart.moments import Moments
from eckart.records import States
from eckart.storage.workspace import decompositions_in

LEAST_BYTES = 2**28  # a cache in memory may always hold this much, however small the moments are
_log = logging.getLogger("eckart")
S = TypeVar("S")


@final
class Cache:
    """States by title: all of them in a workspace, or in memory the first that fit.

    There are many states of narrowed layers, so they are held in memory only.

    Args:
        most_bytes: limit on the bytes of the states that are added to ``found``.
        directory: where the files of states are; None keeps states in memory.
        found: states that were prepared before.
        both: whether states are in files and in memory.
    """

    def __init__(
        self,
        most_bytes: int,
        directory: Path | None = None,
        found: Mapping[str, Any] | None = None,
        *,
        both: bool = False,
    ) -> None:
        self.most_bytes, self.directory = most_bytes, directory
        self._found, self._bytes = dict(found or {}), 0
        self._holds = directory is None or both

    @classmethod
    def beside(
        cls,
        moments: Moments,
        found: Mapping[str, Any] | None = None,
        workspace: str | Path | None = None,
    ) -> Cache:
        """A cache in the workspace of the moments, or else in memory, limited to their size.

        Args:
            moments: what the states are of.
            found: states that were prepared before.
            workspace: a folder that keeps states of moments that are in memory.
        """
        most, own = max(moments.nbytes, LEAST_BYTES), moments.decompositions
        if own is not None or workspace is None:
            return cls(most, own, found)
        folder = decompositions_in(Path(workspace).absolute()) / moments.digest
        return cls(most, folder, found, both=True)

    @property
    def states(self) -> States:
        """A copy of what is held now."""
        return States(self._found)

    def state(self, method: Preparing, problem: Problem) -> Any:
        """The state of a method for a problem. A problem without a title is prepared each time."""
        make = partial(prepared, method, problem)
        if not problem.title:
            return make()
        title = title_of(method, problem)
        if problem.narrowed:
            return self.held(title, make)
        found = self.known(title, method.state, problem.weight.device)
        if found is None:
            self.begin(title)
            found = self.keep(title, make())
        if getattr(found, "piece", problem.piece) != problem.piece:
            raise CheckpointError(
                f"{self._path(title)} belongs to a layer of another shape: delete it"
            )
        return found

    def known(self, title: str, kind: type[Any], device: torch.device) -> Any:
        """What was kept under a title; None if nothing was.

        Raises:
            CheckpointError: its file is damaged, or holds something else.
        """
        if title in self._found:
            return self._found[title]
        path = self._path(title)
        if path is None or not path.exists():
            return None
        return self._hold(title, read_state(path, kind, title, device))

    def begin(self, title: str) -> None:
        """Say that something is being made that will be a file."""
        if title and (path := self._path(title)) is not None:
            _log.info("decomposing %s", path.name)

    def keep(self, title: str, value: S) -> S:
        """The value, which is now kept: in a file, or in memory if it fits."""
        if (path := self._path(title)) is not None:
            write_state(path, value, title)
        return self._hold(title, value)

    def weight(self, problem: Problem) -> Tensor:
        """The weight of a problem; the refitted weight of a narrowed one is kept like a state."""
        if not (problem.title and problem.narrowed):
            return problem.weight
        return self.held(f"{problem.title} weight", lambda: problem.weight)

    def held(self, title: str, make: Callable[[], S]) -> S:
        """The value under a title. If there is none, it is made, and held if it fits."""
        if title in self._found:
            found: S = self._found[title]
            return found
        return self._in_memory(title, make())

    def _hold(self, title: str, value: S) -> S:
        return self._in_memory(title, value) if self._holds else value

    def _in_memory(self, title: str, value: S) -> S:
        size = _nbytes(value)
        if self._bytes + size <= self.most_bytes:
            self._found[title] = value
            self._bytes += size
        return value

    def _path(self, title: str) -> Path | None:
        if self.directory is None:
            return None
        return self.directory / f"{quote(title, safe=' ')}.safetensors"


def title_of(method: Preparing, problem: Problem) -> str:
    """Under which the state of a method is kept; empty if it is not."""
    return problem.title and f"{problem.title} {prepared_as(method)}"


def prepared_as(method: Preparing) -> str:
    """The name of a method's states: its ``prepared_as``, or its module and name."""
    return getattr(method, "prepared_as", f"{type(method).__module__}.{method.name}")


def prepared(method: Preparing, problem: Problem) -> Any:
    """A state in the layout that a file would give it, because rounding depends on the layout."""
    return settled(method.prepare(problem))


def settled(value: Any) -> Any:
    """The value with contiguous tensors, each with its own storage."""
    if isinstance(value, Tensor):
        alone = value.untyped_storage().nbytes() == value.nbytes
        return value if alone and value.is_contiguous() else value.contiguous().clone()
    if isinstance(value, tuple):
        return tuple(map(settled, value))
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: settled(getattr(value, field.name)) for field in fields(value)}
        return replace(value, **parts)
    return value


def _nbytes(value: Any) -> int:
    """Bytes of all tensors in a state."""
    if isinstance(value, Tensor):
        return value.nbytes
    if is_dataclass(value):
        return sum(_nbytes(getattr(value, field.name)) for field in fields(value))
    return sum(map(_nbytes, value)) if isinstance(value, tuple) else 0

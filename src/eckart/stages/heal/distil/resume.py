"""A training run on disk, to go on from: one safetensors file with its position in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isclose
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eckart.errors import CheckpointError, InputError
from eckart.records import Score
from eckart.records.reading import Count
from eckart.records.reading import read as read_record
from eckart.storage.documents import parsed
from eckart.storage.tensors import header_of, outlines_of, read_tensors, write_tensors
from eckart.storage.writing import make_folder

FORMAT = "eckart.training/1"
_CLOSE = 1e-3  # of a weight's norm: what came before, done again, may differ by rounding


@dataclass
class Position:
    """How far a run has come.

    Attributes:
        step: steps made, those of attempts that diverged too.
        begun: the step at which the present pass over the data began.
        first: the step at which the present attempt began.
        diverged: how many attempts diverged.
        worse: checks in a row whose score fell short of the one before.
        accepted: whether a network of the run is the best so far.
        ended: whether the run is over.
        last: score of the last check.
        losses: smoothed loss at the attempt's start and now.
    """

    step: Count = 0
    begun: Count = 0
    first: Count = 0
    diverged: Count = 0
    worse: Count = 0
    accepted: bool = False
    ended: bool = False
    last: Score | None = None
    losses: tuple[float, float] | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain dictionary."""
        return {**vars(self), "last": self.last and self.last.as_json()}

    @classmethod
    def from_json(cls, data: Any) -> Position:
        """The inverse of ``as_json`` but for the score's samples.

        Raises:
            CheckpointError: the data are not those of a position.
        """
        return read_record(cls, data)

    def contradiction(self) -> str | None:
        """No count is larger than the number of steps."""
        counts = (self.begun, self.first, self.diverged, self.worse)
        return None if max(counts) <= self.step else f"of {self.step} steps, {counts} are counted"


@dataclass(frozen=True)
class Identity:
    """What two runs must have in common for one to go on where the other stopped.

    Attributes:
        treatment: its name and recipe.
        steps: how many it makes.
        seed: of all that is random.
        norms: of every weight of the network that it starts from.
    """

    treatment: str
    steps: int
    seed: int
    norms: Mapping[str, float]

    @classmethod
    def of(cls, treatment: str, steps: int, seed: int, start: nn.Module) -> Identity:
        """Of a run that starts from a network."""
        norms = {name: float(p.detach().double().norm()) for name, p in start.named_parameters()}
        return cls(treatment, steps, seed, norms)

    def check(self, path: Path, saved: Identity) -> None:
        """Raise where a file is another run's."""
        for key in ("treatment", "steps", "seed"):
            theirs, mine = getattr(saved, key), getattr(self, key)
            if theirs != mine:
                raise CheckpointError(
                    f"{path} holds a run with {key} {theirs!r:.200}, and this one has {mine!r}: "
                    "name another folder, or delete the file to begin again"
                )
        if saved.norms.keys() != self.norms.keys() or not all(
            isclose(saved.norms[name], norm, rel_tol=_CLOSE, abs_tol=1e-12)
            for name, norm in self.norms.items()
        ):
            raise CheckpointError(
                f"{path} holds a run that started from another network: name another folder, or "
                "delete the file to begin again"
            )


def file_in(folder: Path | None, treatment: str) -> Path | None:
    """The file of a treatment in a folder, which is made.

    Raises:
        InputError: the folder is a file.
        WriteError: it cannot be made.
    """
    if folder is None:
        return None
    if folder.exists() and not folder.is_dir():
        raise InputError(f"checkpoint={folder} is a file; name a folder")
    return make_folder(folder) / f"{treatment}.safetensors"


def write(path: Path, identity: Identity, at: Position, tensors: Mapping[str, Tensor]) -> None:
    """Write the file completely; if that fails, the old file stays.

    Raises:
        WriteError: the disk is full, or cannot be written to.
    """
    position, run = json.dumps(at.as_json()), json.dumps(asdict(identity))
    write_tensors(path, tensors, {"format": FORMAT, "run": run, "position": position})


def read(
    path: Path, identity: Identity, like: Mapping[str, Tensor]
) -> tuple[Position, dict[str, Tensor]]:
    """Read what ``write`` wrote; names and shapes are checked before a tensor is read.

    Args:
        path: an existing file.
        identity: of the run that wants to go on.
        like: a tensor of the shape and dtype of each that the file may hold.

    Raises:
        CheckpointError: damaged, of another run, or not to be trusted.
    """
    header = header_of(path)
    if header.get("format") != FORMAT or not {"run", "position"} <= header.keys():
        raise CheckpointError(f"{path} holds no training run of the format {FORMAT}")
    try:
        saved = read_record(Identity, parsed(header["run"]))
        at = Position.from_json(parsed(header["position"]))
    except CheckpointError as error:
        raise CheckpointError(f"cannot read a training run from {path}: {error}") from error
    identity.check(path, saved)
    found = outlines_of(path)
    for name, outline in found.items():
        if name not in like or outline != (tuple(like[name].shape), like[name].dtype):
            raise CheckpointError(f"{path} holds {name!r:.80}, which does not fit the run")
    tensors = dict(zip(found, read_tensors(path, list(found)), strict=True))
    if at.step > identity.steps or not all(map(_is_finite, tensors.values())):
        raise CheckpointError(f"{path} is damaged: delete it to begin again")
    return at, tensors


def _is_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())

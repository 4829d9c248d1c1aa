"""A training run on disk, to go on from: one safetensors file with its position in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isclose
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from eckart.errors import MALFORMED, CheckpointError, InputError
from eckart.records import Score

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

    step: int = 0
    begun: int = 0
    first: int = 0
    diverged: int = 0
    worse: int = 0
    accepted: bool = False
    ended: bool = False
    last: Score | None = None
    losses: tuple[float, float] | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain dictionary."""
        return {**vars(self), "last": self.last and self.last.as_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Position:
        """The inverse of ``as_json`` but for the score's samples; values of other types raise."""
        last, losses = data["last"], data["losses"]
        score = last and Score(
            last["value"],
            last["n"],
            higher_is_better=last["higher_is_better"],
            error=last["standard_error"],
        )
        start, now = losses or (0.0, 0.0)
        at = cls(**{**data, "last": score, "losses": losses and (float(start), float(now))})
        counts = (at.begun, at.first, at.diverged, at.worse)
        if not all(type(count) is int and 0 <= count <= at.step for count in counts):
            raise ValueError("its position makes no sense")
        return at


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

    def check(self, path: Path, saved: Mapping[str, Any]) -> None:
        """Raise where a file is another run's."""
        for key in ("treatment", "steps", "seed"):
            theirs, mine = saved[key], getattr(self, key)
            if theirs != mine:
                raise CheckpointError(
                    f"{path} holds a run with {key} {theirs!r:.200}, and this one has {mine!r}: "
                    "name another folder, or delete the file to start anew"
                )
        norms = saved["norms"]
        if norms.keys() != self.norms.keys() or not all(
            isclose(norms[name], norm, rel_tol=_CLOSE, abs_tol=1e-12)
            for name, norm in self.norms.items()
        ):
            raise CheckpointError(
                f"{path} holds a run that started from another network: name another folder, or "
                "delete the file to start anew"
            )


def file_in(folder: Path | None, treatment: str) -> Path | None:
    """The file of a treatment in a folder, which is made.

    Raises:
        InputError: the folder is a file.
    """
    if folder is None:
        return None
    if folder.exists() and not folder.is_dir():
        raise InputError(f"checkpoint={folder} is a file; name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{treatment}.safetensors"


def write(path: Path, identity: Identity, at: Position, tensors: Mapping[str, Tensor]) -> None:
    """Write the file, whole or not at all."""
    position, run = json.dumps(at.as_json()), json.dumps(asdict(identity))
    partial = path.with_suffix(".partial")
    copies = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    save_file(copies, partial, metadata={"format": FORMAT, "run": run, "position": position})
    partial.replace(path)


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
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise CheckpointError(f"{path} holds no training run of the format {FORMAT}")
            identity.check(path, json.loads(header["run"]))
            tensors = {}
            for name in file.keys():  # noqa: SIM118
                fits = name in like and [*like[name].shape] == file.get_slice(name).get_shape()
                tensors[name] = file.get_tensor(name) if fits else torch.empty(0)
                if not fits or tensors[name].dtype != like[name].dtype:
                    raise CheckpointError(f"{path} holds {name!r:.80}, which does not fit the run")
        at = Position.from_json(json.loads(header["position"]))
    except (OSError, SafetensorError, InputError, *MALFORMED) as error:
        raise CheckpointError(f"cannot read a training run from {path}: {error}") from error
    if not 0 <= at.step <= identity.steps or not all(
        bool(torch.isfinite(tensor).all()) for tensor in tensors.values()
    ):
        raise CheckpointError(f"{path} is damaged: delete it to start anew")
    return at, tensors

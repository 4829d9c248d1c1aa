"""What a treatment is given, what it must do, and the table of those that are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import nn

from eckart.errors import InputError
from eckart.moments import Moments
from eckart.records import Plan, Score
from eckart.stages.heal.parts import Batches


@dataclass(frozen=True)
class Verdict:
    """What was found about a network that was offered.

    Attributes:
        score: on held-out data; None where its outputs are not finite.
        best: whether it is better than all before, by more than the paired standard error.
    """

    score: Score | None
    best: bool


@dataclass(frozen=True)
class Case:
    """What a treatment is given.

    Attributes:
        student: a copy of the best network so far, in eval mode, on which gradients may be asked
            for; it may be changed in place.
        teacher: the dense network, in eval mode and frozen.
        batches: to fit to; held-out examples are not among them.
        held_out: batches to choose hyper-parameters on; empty where nothing is held out.
        moments: of the teacher, if they were given.
        plan: what was done to the teacher, if it is known.
        steps: optimiser steps, if they were limited.
        checkpoint: folder of files to go on from, for what takes long.
        seed: of whatever is random.
        progress: show bars; None shows them on a terminal.
        offer: judge a network now, with a note on what it is; the best is kept, as a copy.
        remark: put into the log what a reader should know beside the scores.
    """

    student: nn.Module
    teacher: nn.Module
    batches: Batches
    held_out: Sequence[Any]
    moments: Moments | None
    plan: Plan | None
    steps: int | None
    checkpoint: Path | None
    seed: int
    progress: bool | None
    offer: Callable[[nn.Module, str], Verdict]
    remark: Callable[[str], None]


@runtime_checkable
class Treatment(Protocol):
    """A way to make a smaller network better; it proposes, and ``heal`` judges."""

    @property
    def name(self) -> str:
        """Name in the registry."""

    def needs(self, case: Case) -> str | None:
        """Why it cannot be done here, or None."""

    def treat(self, case: Case) -> None:
        """Offer one network or several."""


TREATMENTS: dict[str, Treatment] = {}


def register_treatment(treatment: Treatment) -> None:
    """Make a treatment known; a later one of the same name takes its place."""
    TREATMENTS[treatment.name] = treatment


def treatments_named(names: str | Sequence[str]) -> list[Treatment]:
    """The treatments of these names, in their order.

    Raises:
        InputError: an unknown name, or none.
    """
    wanted = [names] if isinstance(names, str) else list(names)
    for name in wanted:
        if name not in TREATMENTS:
            known = ", ".join(TREATMENTS)
            raise InputError(f"unknown treatment {name!r}; known: {known}")
    if not wanted:
        raise InputError(f"treatments is empty; known: {', '.join(TREATMENTS)}")
    return [TREATMENTS[name] for name in wanted]

"""What a treatment is given, what it must do, and the table of the registered ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import nn

from eckart.errors import InputError
from eckart.moments import Moments
from eckart.records import Plan, Score
from eckart.records.naming import names_in
from eckart.stages.heal.parts import Batches


@dataclass(frozen=True)
class Verdict:
    """The judgement on a network that was offered.

    Attributes:
        score: score on held-out data; None if its outputs are not finite.
        best: whether it is better than all before it, by more than the paired standard error.
    """

    score: Score | None
    best: bool


@dataclass(frozen=True)
class Case:
    """What a treatment is given.

    Attributes:
        student: a copy of the best network so far, in eval mode; it may be changed in place, and
            gradients may be taken.
        teacher: the dense network, in eval mode and frozen.
        batches: batches to fit to, without the held-out examples.
        held_out: batches to choose hyper-parameters on; empty if nothing is held out.
        moments: moments of the teacher, if given.
        plan: what was done to the teacher, if known.
        steps: number of optimiser steps, if given.
        checkpoint: folder of files from which a long treatment resumes.
        seed: seed of everything random.
        progress: show bars; None shows them on a terminal.
        offer: judges a network at once, with a note on what it is; a copy of the best is kept.
        remark: adds to the log what a reader should know beside the scores.
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
        """Why the treatment cannot run here, or None."""

    def treat(self, case: Case) -> None:
        """Offer one or several networks."""


TREATMENTS: dict[str, Treatment] = {}


def register_treatment(treatment: Treatment) -> None:
    """Register a treatment; a later one of the same name replaces it."""
    TREATMENTS[treatment.name] = treatment


def treatments_named(names: str | Sequence[str]) -> list[Treatment]:
    """The treatments with these names, in this order.

    Raises:
        InputError: a name is unknown, or there is none.
    """
    wanted = names_in("treatments", names)
    for name in wanted:
        if name not in TREATMENTS:
            known = ", ".join(TREATMENTS)
            raise InputError(f"unknown treatment {name!r}; known: {known}")
    if not wanted:
        raise InputError(f"treatments is empty; known: {', '.join(TREATMENTS)}")
    return [TREATMENTS[name] for name in wanted]

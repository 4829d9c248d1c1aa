"""Distillation and fine-tuning: gradient steps on the smaller network, judged at intervals."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from itertools import islice
from math import isfinite
from typing import final

import torch
from torch import Tensor

from eckart.errors import CheckpointError
from eckart.records import Score
from eckart.running.hooks import untouched
from eckart.running.progress import tracked
from eckart.stages.heal.distil.data_passes import passes
from eckart.stages.heal.distil.objectives import Imitation, Objective
from eckart.stages.heal.distil.resume import Identity, Position, file_in, read, write
from eckart.stages.heal.distil.training import (
    Recipe,
    Training,
    in_codes,
    restore,
    sizes_of,
    stored,
    weights,
)
from eckart.stages.heal.treatments import Case

PASSES = 2  # over the data, if the number of steps is not given
_CHECKS = 10  # number of networks that are judged
_PATIENCE = 3  # the run ends after this many checks in a row that are each worse than the last
_SMALLER = 4  # the rate is divided by this after a divergence
_ATTEMPTS = 4


@final
@dataclass(frozen=True)
class Distil:
    """Train all parameters that require a gradient; the others stay unchanged.

    Weights in codes are trained by their scales.

    Attributes:
        name: name in the registry.
        objective: what is minimised.
        recipe: how it is minimised.
    """

    name: str = "distil"
    objective: Objective = field(default_factory=Imitation)
    recipe: Recipe = field(default_factory=Recipe)

    def needs(self, case: Case) -> str | None:
        """It needs parameters to train, in a precision in which small steps do not vanish."""
        trained = {p.dtype for p in case.student.parameters() if p.requires_grad}
        trained |= {layer.like.dtype for layer in in_codes(case.student)}
        if not trained:
            return "no parameter of the network requires a gradient"
        unfit = trained - {torch.float32, torch.float64}
        if unfit:
            names = ", ".join(sorted(map(str, unfit)))
            return f"gradient steps need float32 and the network has {names}: use .float()"
        return None

    def treat(self, case: Case) -> None:
        """Offer the running average of the weights at ten steps, and the best of a checkpoint."""
        with untouched(case.teacher):
            Run(self, case).go_on()


@final
class Run:
    """One run of steps: its position, and the network that it falls back to."""

    def __init__(self, treatment: Distil, case: Case) -> None:
        self.treatment, self.case = treatment, case
        self.steps = case.steps or PASSES * sum(1 for _ in case.batches)
        self.best = case.student
        self.at = Position()
        described = f"{treatment.name}, {treatment.recipe}"
        self._identity = Identity.of(described, self.steps, case.seed, case.student)
        self._sizes = sizes_of(case.student)
        self._path = file_in(case.checkpoint, treatment.name)
        self._training = self._attempt()
        if self._path is not None and self._path.exists():
            like = self._best() | self._training.like()
            self._resume(*read(self._path, self._identity, like))

    def go_on(self) -> None:
        """Make the steps that are left, until the end or until they no longer help."""
        at, case = self.at, self.case
        left = 0 if at.ended else self.steps - at.step
        source = islice(passes(case.batches, case.seed, at.step, at.begun), left)
        for begun, batch in tracked(source, self.treatment.name, case.progress, left):
            fine = self._training.make_step(batch, case.teacher, self.treatment.objective)
            at.begun, at.step = begun, at.step + 1
            if not fine:
                self._roll_back()
            elif at.step * _CHECKS // self.steps > (at.step - 1) * _CHECKS // self.steps:
                self._check()
            if at.ended:
                return

    def _check(self) -> None:
        """Offer the running average to the judge, and save the run."""
        at, average = self.at, stored(self._training.average)
        verdict = self.case.offer(average, f"step {at.step} of {self.steps}")
        if verdict.best:
            self.best, at.accepted = average, True
        if verdict.score is not None:
            at.worse = at.worse + 1 if _is_worse(verdict.score, at.last) else 0
            at.last = verdict.score
        at.ended = at.step == self.steps or at.worse >= _PATIENCE
        if at.ended and at.step < self.steps:
            self.case.remark(f"stopped at step {at.step}: worse at {_PATIENCE} checks in a row")
        self._save()

    def _roll_back(self) -> None:
        """Start again from the best network with a smaller rate, or give up."""
        at = self.at
        at.first, at.diverged = at.step, at.diverged + 1
        at.ended = at.diverged == _ATTEMPTS or at.step == self.steps
        self._training = self._attempt()
        rate = self._training.recipe.rate
        then = "gave up" if at.ended else f"continuing at a rate of {rate:.2g}"
        self.case.remark(f"diverged at step {at.step}: back to the best network, {then}")
        self._save()

    def _attempt(self) -> Training:
        rate = self.treatment.recipe.rate / _SMALLER**self.at.diverged
        recipe = replace(self.treatment.recipe, rate=rate)
        return Training(self.best, recipe, self.steps - self.at.first, self._sizes)

    def _save(self) -> None:
        if self._path is not None:
            self.at.losses = self._training.losses
            write(self._path, self._identity, self.at, self._best() | self._training.tensors())

    def _best(self) -> dict[str, Tensor]:
        return {f"best/{name}": tensor for name, tensor in weights(self.best)}

    def _resume(self, at: Position, tensors: dict[str, Tensor]) -> None:
        """Resume a saved run; the judge sees its best network again."""
        required = self._best() | self._training.tensors()
        if required.keys() - tensors.keys():
            raise CheckpointError(f"{self._path} is incomplete: delete it to begin again")
        self.at = at
        self.best = restore(copy.deepcopy(self.best), tensors, "best")
        self._training = self._attempt()
        self._training.restore(tensors, at.step - at.first, at.losses)
        self.case.remark(f"goes on from step {at.step}, read from {self._path}")
        if at.accepted:
            self.case.offer(self.best, f"the best up to step {at.step}")


def _is_worse(score: Score, last: Score | None) -> bool:
    """Whether a score is worse than the one before it by more than a standard error.

    It is not compared with the best of the run: while steps are large, a network is worse than at
    its start, and it improves as the steps get smaller.
    """
    if last is None:
        return False
    error = last.standard_error
    return score.drop_from(last) > (error if isfinite(error) else 0.0)

"""The judge: keeps the best network so far by held-out data, and the log."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable
from math import isfinite
from typing import Any

import torch
from torch import nn

from eckart.errors import InputError
from eckart.records import HealingStep, Score
from eckart.running.batches import call, inputs_of, tensors_in
from eckart.running.hooks import untouched
from eckart.scores import Evaluate
from eckart.stages.heal.treatments import Verdict


class Judge:
    """Scores networks and remembers the best; an equally good network does not replace it.

    Where both scores have samples, the gain must exceed its paired standard error.

    Attributes:
        model: the best network so far; the start itself until a better one is found.
        score: its score.
        log: all steps so far.
        treatment: the name under which the next steps are logged.
    """

    def __init__(self, start: nn.Module, evaluate: Evaluate, held_out: Iterable[Any]) -> None:
        self.model = start
        self.score: Score | None = None
        self.log: list[HealingStep] = []
        self.treatment = "start"
        self._evaluate = evaluate
        self._held_out = held_out
        self._time = time.perf_counter()

    def begin(self) -> None:
        """Score the start."""
        self.score = self._scored(self.model)
        note = "as it was handed in" if self.score else "its outputs are not finite"
        self._write(note, self.score, accepted=False)

    def offer(self, network: nn.Module, note: str) -> Verdict:
        """Score a network, and keep a copy if it is the best so far."""
        score = self._scored(network)
        best = score is not None and (self.score is None or _better(score, self.score))
        if best:
            self.model, self.score = copy.deepcopy(network), score
        self._write(note if score else f"{note}: outputs not finite", score, best)
        return Verdict(score, best)

    def remark(self, note: str) -> None:
        """Log a note without a score."""
        self._write(note, None, accepted=False)

    def _write(self, note: str, score: Score | None, accepted: bool) -> None:
        now = time.perf_counter()
        step = HealingStep(
            treatment=self.treatment,
            note=note,
            score=score,
            seconds=now - self._time,
            accepted=accepted,
        )
        self.log.append(step)
        self._time = now

    def _scored(self, network: nn.Module) -> Score | None:
        """The score; None if the network itself, not the evaluation, gives NaN or infinity."""
        try:
            return Score.of(self._evaluate(network))
        except InputError:
            if self._finite(network):
                raise
            return None

    def _finite(self, network: nn.Module) -> bool:
        with untouched(network), torch.no_grad():
            outputs = (tensors_in(call(network, inputs_of(batch))) for batch in self._held_out)
            return all(bool(torch.isfinite(t).all()) for part in outputs for t in part)


def _better(score: Score, than: Score) -> bool:
    gain, error = -score.drop_from(than), score.drop_error(than)
    return gain > max(0.0, error if isfinite(error) else 0.0)

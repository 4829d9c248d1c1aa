"""Find a small candidate that is shown, with a given confidence, to lose less than a tolerance.

Candidates are tested from the largest down, and the first that cannot be shown to be good enough
ends the search. All those before it were shown, so the whole search is wrong only if the first
candidate that is really too bad passes its test. The chance of that is the error of one test, in
whatever way candidates depend on one another, and no matter how many are tried.

Source: Angelopoulos, Bates, Candès, Jordan & Lei 2021, "Learn then test", 2110.01052, for testing
    in a fixed sequence; ``eckart.search.confidence`` for the test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eckart.errors import InputError
from eckart.records import Score, ToleranceSearch, Trial
from eckart.scores.by_example import ByExample, by_example
from eckart.scores.running import Evaluate
from eckart.search.bisection import checked_tolerance
from eckart.search.confidence import Evidence, least_examples

_STEPS = 24  # candidates at most, evenly spread over sizes


@dataclass(frozen=True, eq=False)
class Judge:
    """The dense network's numbers, which other networks are compared with.

    Attributes:
        evaluate: gives one number per example.
        dense: of the dense network.
        score: the dense network's score over all examples.
        tolerance: how much worse the score may be.
        confidence: the chance that what passes does not lose more.
    """

    evaluate: ByExample
    dense: Float[Tensor, " n"]
    score: Score
    tolerance: float
    confidence: float

    @classmethod
    def of(cls, evaluate: Evaluate, model: nn.Module, tolerance: float, confidence: float) -> Judge:
        """The judge that knows this dense network.

        Raises:
            InputError: the evaluation gives no number per example, or an argument is out of range.
        """
        tolerance, confidence = checked_tolerance(tolerance), checked_confidence(confidence)
        found, dense = by_example(evaluate, model)
        return cls(found, dense, found.score(dense), tolerance, confidence)

    @property
    def allowed(self) -> float:
        """The tolerance as a mean over examples."""
        return self.evaluate.mean_of(self.tolerance, self.score)

    @property
    def most(self) -> float | None:
        """The largest difference that one example can make."""
        bounds = self.evaluate.bounds
        return None if bounds is None else bounds[1] - bounds[0]

    @property
    def needed(self) -> int:
        """How many examples show the tolerance if both networks do equally well on each."""
        return least_examples(self.allowed, self.most, 1 - self.confidence)

    def passes(self, model: nn.Module, params: int, rank: int | None = None) -> tuple[bool, Trial]:
        """Whether a network is shown to be good enough; read until that is decided either way."""
        samples, evidence = self._decided(model)
        found = self.evaluate.score(samples)
        gap = found.drop_from(self.evaluate.score(self.dense[: len(samples)]))
        bound = self.evaluate.gap_of(evidence.bound(), self.score)
        return evidence.is_below(self.allowed), Trial(
            params=params, score=found, gap=gap, rank=rank, bound=bound
        )

    def _decided(self, model: nn.Module) -> tuple[Tensor, Evidence]:
        """The numbers of the first examples, and what they say: enough, or all that there is."""
        samples = self.dense[:0]
        evidence = self._evidence(samples)
        with closing(self.evaluate.samples(model)) as batches:
            for batch in batches:
                samples = torch.cat([samples, batch])
                evidence = self._evidence(samples)
                if evidence.is_below(self.allowed) or evidence.is_above(self.allowed):
                    break
        return samples, evidence

    def _evidence(self, samples: Float[Tensor, " n"]) -> Evidence:
        dense = self.dense[: len(samples)]
        if len(dense) < len(samples):
            raise InputError("evaluate gave more examples for one network than for another")
        if self.most is None:
            spread = float((self.dense.double() - self.dense.double().mean()).abs().max())
        else:
            spread = 0.0
        differences = self.evaluate.worse_by(samples, dense)
        return Evidence(differences, 1 - self.confidence, self.most, spread, len(self.dense))


def smallest_shown(
    params: Sequence[int],
    network: Callable[[int], nn.Module],
    judge: Judge,
    dense_params: int,
    ranks: Sequence[int] | None = None,
) -> tuple[int | None, ToleranceSearch]:
    """The last of a row of ever smaller candidates that are all shown to be good enough.

    If the examples are a random sample in random order, then with the judge's confidence the
    candidate found loses less than the tolerance on the data that they are a sample of. At most 24
    of the candidates, evenly spread over sizes, are tried.

    Args:
        params: number of parameters of each candidate, ascending.
        network: makes the candidate with this index; called once per candidate that is tried.
        judge: compares networks with the dense one.
        dense_params: number of parameters of the dense network.
        ranks: the rank of each candidate, if candidates have one.

    Returns:
        The index, or None if not even the largest candidate passes, and the search.

    Cost: at most 24 evaluations, each of as many examples as it takes to decide.
    """
    trials: list[Trial] = []
    found, passed = None, None
    for index in spread_out(params, dense_params):
        rank = None if ranks is None else ranks[index]
        good, trial = judge.passes(network(index), params[index], rank)
        trials.append(trial)
        if not good:
            break
        found, passed = index, trial
    search = ToleranceSearch(
        tolerance=judge.tolerance,
        dense_score=judge.score,
        dense_params=dense_params,
        trials=tuple(trials),
        found=passed,
        confidence=judge.confidence,
        unit=judge.evaluate.unit,
    )
    return found, search


def spread_out(params: Sequence[int], dense_params: int) -> list[int]:
    """At most 24 indices, from the largest candidate down, about evenly spread over sizes."""
    if not params:
        return []
    step = (dense_params - params[0]) / _STEPS
    slots = [min(int((dense_params - size) / step), _STEPS - 1) for size in params]
    order = range(len(params))[::-1]
    return [order[0]] + [new for old, new in pairwise(order) if slots[new] != slots[old]]


def checked_confidence(confidence: float) -> float:
    """The confidence, after a check that it is valid.

    Raises:
        InputError: it is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise InputError(
            f"confidence={confidence}: expected a number between 0 and 1, such as 0.95"
        )
    return float(confidence)

"""Scores that are means over examples, which can be read a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import KW_ONLY, dataclass
from math import exp, log1p
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import RandomSampler

from eckart.errors import InputError
from eckart.records import Score
from eckart.scores.running import Evaluate

Samples = Callable[[nn.Module], Generator[Tensor, None, None]]
MOST_NATS = 700.0  # the exponential of more overflows


@final
@dataclass(frozen=True, eq=False)
class ByExample:
    """An ``evaluate`` whose score is the mean of one number per example, or its exponential.

    Attributes:
        whole: the score over all examples.
        samples: the numbers batch by batch, in the order of the data, shape (examples,); the rest
            of the data is not read until it is asked for.
        batches: the data.
        higher_is_better: which direction of the numbers is better.
        bounds: the least and the largest number that an example can have; None if there are none.
        exponential: whether the score is the exponential of the mean.
        unit: what has one number: ``"example"``, ``"row"`` or ``"batch"``.
    """

    whole: Evaluate
    samples: Samples
    batches: Iterable[Any] = ()
    _: KW_ONLY
    higher_is_better: bool = True
    bounds: tuple[float, float] | None = None
    exponential: bool = False
    unit: str = "example"

    def __call__(self, model: nn.Module) -> Score:
        return Score.of(self.whole(model))

    def score(self, samples: Float[Tensor, " n"]) -> Score:
        """The score over the examples that have these numbers."""
        mean = float(samples.double().mean())
        value = exp(min(mean, MOST_NATS)) if self.exponential else mean
        kept = None if self.exponential else samples
        return Score(value, len(samples), higher_is_better=self.higher_is_better, samples=kept)

    def worse_by(self, samples: Float[Tensor, " n"], dense: Float[Tensor, " n"]) -> Tensor:
        """How much worse each example is than with the dense network, in float64."""
        return (dense.double() - samples.double()) * (1 if self.higher_is_better else -1)

    def mean_of(self, gap: float, dense: Score) -> float:
        """The mean of ``worse_by`` that makes the score worse by ``gap``."""
        return log1p(gap / dense.value) if self.exponential else gap

    def gap_of(self, mean: float, dense: Score) -> float:
        """How much worse the score is if the mean of ``worse_by`` is this; undoes ``mean_of``."""
        if not self.exponential:
            return mean
        return dense.value * (exp(min(mean, MOST_NATS)) - 1)


def by_example(evaluate: Evaluate, model: nn.Module) -> tuple[ByExample, Float[Tensor, " n"]]:
    """An evaluation by example, and its numbers for this network on all examples.

    Scores of ``eckart`` are read batch by batch. The ``samples`` that another function's ``Score``
    has are all there at once.

    Raises:
        InputError: there are no numbers by example; or the data come in another order each time,
            so the examples of two networks cannot be paired.
    """
    if isinstance(evaluate, ByExample):
        if isinstance(getattr(evaluate.batches, "sampler", None), RandomSampler):
            raise InputError(
                "the loader shuffles, so two networks would not see the same examples in the same "
                "order: shuffle the data once, and pass a loader that keeps the order"
            )
        return evaluate, torch.cat(list(evaluate.samples(model)))
    score = Score.of(evaluate(model))
    if score.samples is None:
        raise InputError(
            "confidence= compares networks example by example, and evaluate returned no number "
            "per example: use eckart.accuracy, perplexity or torch_metric, or return a Score with "
            "samples"
        )
    binary = bool(((score.samples == 0) | (score.samples == 1)).all())

    def samples(network: nn.Module) -> Generator[Tensor, None, None]:
        yield _samples(evaluate, network)

    found = ByExample(
        evaluate,
        samples,
        higher_is_better=score.higher_is_better,
        bounds=(0.0, 1.0) if binary else None,
    )
    return found, score.samples


def _samples(evaluate: Evaluate, model: nn.Module) -> Tensor:
    samples = Score.of(evaluate(model)).samples
    if samples is None:
        raise InputError("evaluate returned samples for one network and none for another")
    return samples

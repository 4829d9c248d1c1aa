"""How far the outputs of a network change, on the examples that the calibration kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

from torch import nn

from eckart.metrics import METRICS, Measurable, Outputs, Probe, probe_of
from eckart.moments.record import Moments
from eckart.running.batches import examples_in, first_examples, moved
from eckart.running.outputs import outputs_of
from eckart.running.tokens import fewer_tokens, tokens_in

_MOST_WORK = 4e10  # multiply-adds of all passes: some seconds
_MOST_OF_FEW = 2e12  # of passes of the fewest examples: a minute of one core
FEWEST = 8  # examples, whatever they cost
TOKENS = 64  # of each of them, where sequences are longer


class Sampled:
    """The outputs of a network on the sample, to compare others with.

    Args:
        model: the network that is compared with.
        moments: of this network; they hold the sample.
        most: number of examples.
        metric: the probe that the moments were gathered with; None looks it up by its name, and
            takes the outputs as they are if it cannot be measured.

    Of long runs of tokens, the first do, if no more than the fewest examples are asked for.
    """

    def __init__(
        self, model: nn.Module, moments: Moments, most: int, metric: Probe | None = None
    ) -> None:
        self.probe: Measurable = measurable(moments, metric) or Outputs()
        few = list(few_of(moments.sample, most, moments.whole_batches))
        few = [fewer_tokens(each, TOKENS) for each in few] if most <= FEWEST else few
        self.inputs = [moved(inputs, model) for inputs in few]
        self.outputs = [outputs_of(model, inputs) for inputs in self.inputs]

    def change(self, model: nn.Module) -> float:
        """The change of another network's outputs, in the metric; not finite where they are not."""
        pairs = zip(self.inputs, self.outputs, strict=True)
        return sum(self._change(model, inputs, outputs) for inputs, outputs in pairs)

    def finite_change(self, model: nn.Module) -> float:
        """The same without the batches for which it is not finite."""
        pairs = zip(self.inputs, self.outputs, strict=True)
        changes = [self._change(model, inputs, outputs) for inputs, outputs in pairs]
        return sum(change for change in changes if isfinite(change))

    def _change(self, model: nn.Module, inputs: Any, outputs: Any) -> float:
        found = self.probe.observed(outputs_of(model, inputs), inputs)
        return self.probe.change(found, outputs, inputs)


def measurable(moments: Moments, given: Probe | None = None) -> Measurable | None:
    """What the moments were gathered with, if changes can be measured by it."""
    name = moments.metric
    probe = probe_of(name) if given is None and name in METRICS else given
    if isinstance(probe, Outputs) and moments.spreads:
        probe = replace(probe, scales=moments.scales)
    return probe if isinstance(probe, Measurable) else None


def few_of(sample: Sequence[Any], most: int, whole: bool) -> Iterator[Any]:
    """So many examples of the sample; whole batches where they cannot be cut."""
    for inputs in sample:
        if most > 0:
            few = inputs if whole else first_examples(inputs, most)
            most -= examples_in(few)
            yield few


def affordable(moments: Moments, passes: int) -> int:
    """The examples that so many forward passes may run on; enough to tell one from another."""
    macs = moments.model_costs.get("macs", 0)
    return max(FEWEST, int(_MOST_WORK / max(1, macs * passes)))


def affordable_passes(moments: Moments) -> int:
    """How many forward passes the fewest examples may run through; it takes about a minute."""
    lengths = [tokens_in(inputs) for inputs in moments.sample[:1]]
    length = next((found for found in lengths if found is not None), TOKENS)
    macs = moments.model_costs.get("macs", 0) * min(1.0, TOKENS / length)
    return int(_MOST_OF_FEW / max(1.0, FEWEST * macs))

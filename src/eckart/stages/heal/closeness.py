"""How close a network's outputs are to its teacher's, without labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eckart.records import Score
from eckart.running.batches import call, inputs_of
from eckart.running.hooks import untouched
from eckart.running.masks import masks_of, real_rows
from eckart.stages.heal.pairs import Pair, compared

_TEMPERATURE = 4.0


def closeness(teacher: nn.Module, batches: Iterable[Any]) -> Callable[[nn.Module], Score]:
    """An ``evaluate`` that compares outputs with a teacher's; lower is better.

    For an output with an axis of classes the score is ``T² KL(teacher ‖ network)`` of the softmax
    at temperature T, averaged over the positions of an example. For others it is
    ``½ ‖y − t‖² / mean ‖t‖²``, with the mean over all examples. Several outputs add up, see
    ``compared``. T is 4, because at 1 the few examples on which a confident classifier errs would
    decide alone. For (n, tokens, classes) T is 1, and the score is in nats. Both networks run on
    each batch, so nothing is kept in memory.

    Args:
        teacher: the dense network, in eval mode.
        batches: read once per evaluation, on the network's device.

    Returns:
        ``evaluate(model) -> Score`` with one sample per example.
    """

    def evaluate(model: nn.Module) -> Score:
        sums: dict[str, _Sum] = {}
        with untouched(model), torch.no_grad():
            for batch in batches:
                outputs, targets = (call(m, inputs_of(batch)) for m in (model, teacher))
                for pair in compared(outputs, targets, batch):
                    sums.setdefault(pair.path, _Sum()).add(pair, inputs_of(batch))
        samples = torch.stack([each.samples() for each in sums.values()]).sum(0)
        value = float(samples.double().mean())
        return Score(value, len(samples), higher_is_better=False, samples=samples)

    return evaluate


@dataclass
class _Sum:
    """How far one output is from the teacher's, batch by batch."""

    parts: list[Tensor] = field(default_factory=list)
    scale: float | None = None

    def add(self, pair: Pair, inputs: Any) -> None:
        """One number per example; a squared error is still to be divided by the scale."""
        ours, theirs = pair.ours, pair.theirs
        if pair.axis is not None:
            self.parts.append(_divergence(ours, theirs, pair.axis, inputs))
            return
        real = _real(inputs, theirs.shape[:-1], theirs)[..., None]
        ours, theirs = (t * real for t in (ours, theirs))
        self.parts.append(0.5 * _per_example((ours - theirs).square()).sum(1))
        self.scale = (self.scale or 0.0) + float(theirs.double().square().sum())

    def samples(self) -> Tensor:
        """One number per example."""
        samples = torch.cat(self.parts).cpu()
        return samples * len(samples) / self.scale if self.scale else samples


def temperature_for(logits: Tensor) -> float:
    """The temperature T: 1 for (n, tokens, classes), otherwise 4."""
    return 1.0 if logits.dim() == 3 else _TEMPERATURE


def _divergence(ours: Tensor, theirs: Tensor, axis: int, inputs: Any) -> Tensor:
    """``T² KL`` to the teacher's probabilities, averaged over each example's real positions."""
    temperature = temperature_for(theirs)
    left, right = (F.log_softmax(t.float() / temperature, axis) for t in (ours, theirs))
    positions = F.kl_div(left, right, reduction="none", log_target=True).sum(axis)
    real = _real(inputs, positions.shape, positions)
    total, counted = (_per_example(t).sum(1) for t in (positions * real, real))
    return temperature**2 * total / counted.clamp_min(1)


def _real(inputs: Any, shape: torch.Size, like: Tensor) -> Tensor:
    """One at each position that is not padding, zero elsewhere."""
    real = real_rows(masks_of(inputs), shape)
    return like.new_ones(shape) if real is None else real.reshape(shape).to(like)


def _per_example(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1)

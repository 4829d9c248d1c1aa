"""What gradient steps minimise: the distance to the teacher's outputs, or the task's own loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eckart.errors import InputError
from eckart.metrics import class_axis, logits_of
from eckart.running.batches import call, inputs_of
from eckart.running.masks import Masks, masks_of, real_part
from eckart.stages.heal.closeness import temperature_for
from eckart.stages.heal.pairs import Pair, compared


@runtime_checkable
class Objective(Protocol):
    """``objective(outputs, batch, teacher) -> scalar``, a mean over the batch."""

    def __call__(self, outputs: Any, batch: Any, teacher: nn.Module) -> Tensor:
        """The student's loss on a batch, given its outputs."""


@dataclass(frozen=True)
class Imitation:
    """``T² KL(teacher ‖ student)`` of the softmax at temperature T, averaged over the positions.

    For outputs without an axis of classes it is ``½ mean (y − t)² / mean t²``. Several outputs add
    up, see ``compared``. Padding is left out.

    Attributes:
        temperature: T, by which both sets of logits are divided. None takes that of ``closeness``,
            because steps towards another score would not be kept.

    Source: Hinton, Vinyals, Dean 2015 (1503.02531), section 2.
    """

    temperature: float | None = None

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0 < self.temperature < float("inf"):
            raise InputError(f"temperature={self.temperature}: give a positive number")

    def __call__(self, outputs: Any, batch: Any, teacher: nn.Module) -> Tensor:
        """The divergence; the teacher runs without gradients."""
        with torch.no_grad():
            targets = call(teacher, inputs_of(batch))
        masks = masks_of(inputs_of(batch))
        distances = [self._distance(pair, masks) for pair in compared(outputs, targets, batch)]
        return torch.stack(distances).sum()

    def _distance(self, pair: Pair, masks: Masks) -> Tensor:
        ours, theirs, axis = pair.ours, pair.theirs, pair.axis
        if axis is None:
            ours, theirs = (real_part(z, masks) for z in (ours, theirs))
            scale = theirs.square().mean()
            return 0.5 * F.mse_loss(ours, theirs) / torch.where(scale > 0, scale, 1.0)
        temperature = self.temperature or temperature_for(theirs)
        left, right = (
            F.log_softmax(_rows(z, axis, masks).float() / temperature, -1) for z in (ours, theirs)
        )
        return temperature**2 * F.kl_div(left, right, reduction="batchmean", log_target=True)


@dataclass(frozen=True)
class TaskLoss:
    """Cross entropy with the batch's targets, or half the mean squared error without classes."""

    def __call__(self, outputs: Any, batch: Any, teacher: nn.Module) -> Tensor:
        """The loss; the teacher is not used."""
        if not (isinstance(batch, tuple | list) and len(batch) == 2):
            raise InputError("fine-tuning on labels needs batches of (inputs, targets)")
        logits, targets = logits_of(outputs), batch[1]
        axis = class_axis(logits)
        expected = logits.shape if axis is None else logits.select(axis, 0).shape
        if targets.shape != expected:
            raise InputError(
                f"the network's outputs have shape {tuple(logits.shape)} and the targets "
                f"{tuple(targets.shape)}: expected targets of shape {tuple(expected)}"
            )
        if axis is None:
            return 0.5 * F.mse_loss(logits, targets.to(logits.dtype))
        if targets.max() >= logits.shape[axis]:
            raise InputError(
                f"a target is {int(targets.max())} and the network has {logits.shape[axis]} "
                "outputs: the data have more classes"
            )
        return F.cross_entropy(_rows(logits, axis).float(), targets.flatten())


def _rows(logits: Tensor, axis: int, masks: Masks = ()) -> Tensor:
    """One row of class scores per position, without padding."""
    return real_part(logits.movedim(axis, -1), masks).flatten(0, -2)

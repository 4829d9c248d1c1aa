"""Task metrics to evaluate networks with; any function of a network does as well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from eckart.batches import call, inputs_of, moved
from eckart.errors import InputError
from eckart.metrics import class_axis, logits_of
from eckart.records import Score
from eckart.watch import untouched

Evaluate = Callable[[nn.Module], Score | float]


def accuracy(batches: Iterable[Any]) -> Callable[[nn.Module], Score]:
    """An ``evaluate`` that gives the fraction of targets that have the largest logit.

    Args:
        batches: pairs (inputs, targets), iterated once per evaluation: a loader or a list.

    Returns:
        ``evaluate(model) -> Score`` with one sample per target; the classes are along axis 1 of
        the logits, the last for (n, tokens, classes).

    Raises:
        InputError: ``batches`` can be read only once, or gives no pair.
    """
    if isinstance(batches, Iterator):
        raise InputError(
            "accuracy reads its batches once per network, and this is an iterator that can be read "
            "only once: pass a list or a DataLoader"
        )

    def evaluate(model: nn.Module) -> Score:
        hits: list[Tensor] = []
        with untouched(model), torch.inference_mode():
            for batch in batches:
                if not (isinstance(batch, tuple | list) and len(batch) == 2):
                    raise InputError("accuracy needs batches of (inputs, targets)")
                logits = logits_of(call(model, moved(inputs_of(batch), model)))
                hits.append(_hits(logits, batch[1].to(logits.device)).cpu().flatten())
        if not hits:
            raise InputError("the evaluation loader gave no batch")
        samples = torch.cat(hits).float()
        return Score(float(samples.double().mean()), len(samples), samples=samples)

    return evaluate


def _hits(logits: Tensor, targets: Tensor) -> Tensor:
    """Whether the largest logit is the target's; shapes and classes must agree."""
    axis = class_axis(logits)
    if axis is None or logits.argmax(axis).shape != targets.shape:
        raise InputError(
            f"accuracy got logits {tuple(logits.shape)} and targets {tuple(targets.shape)}: "
            "targets have the logits' shape without the axis of the classes"
        )
    if targets.max() >= logits.shape[axis]:
        raise InputError(
            f"a target is {int(targets.max())} and the network has {logits.shape[axis]} outputs: "
            "the data have more classes"
        )
    return logits.argmax(axis) == targets

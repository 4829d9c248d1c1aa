"""Scores of classifiers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from eckart.errors import InputError
from eckart.metrics import class_axis
from eckart.records import Score
from eckart.running.batches import check_rereadable
from eckart.scores.by_example import ByExample
from eckart.scores.running import labelled


def accuracy(batches: Iterable[Any]) -> ByExample:
    """Make an ``evaluate`` that returns the fraction of targets with the largest logit.

    Args:
        batches: pairs (inputs, targets), iterated once per evaluation: a loader or a list.

    Returns:
        ``evaluate(model) -> Score`` with one sample per target. The classes are along axis 1 of
        the logits, or along the last axis for (n, tokens, classes).

    Raises:
        InputError: ``batches`` can be read only once, is empty, or does not hold pairs.
    """
    check_rereadable(batches, "accuracy")

    def samples(model: nn.Module) -> Generator[Tensor, None, None]:
        for logits, targets in labelled(model, batches):
            yield _hits(logits, targets).cpu().flatten().float()

    def whole(model: nn.Module) -> Score:
        found = torch.cat([*samples(model)])
        return Score(float(found.double().mean()), len(found), samples=found)

    return ByExample(whole, samples, batches, bounds=(0.0, 1.0))


def auc(batches: Iterable[Any]) -> Callable[[nn.Module], Score]:
    """Make an ``evaluate`` that returns the area under the ROC curve, by ``torchmetrics``.

    For two classes, this is the chance that an example of the second class has a higher score than
    one of the first. The network may give two logits, or only the logit of the second class. For
    more classes, it is the mean over the classes of each one against the others. The scores are
    the softmax.

    Args:
        batches: pairs (inputs, targets), iterated once per evaluation; targets are class indices.

    Returns:
        ``evaluate(model) -> Score``.

    Raises:
        InputError: torchmetrics is not installed; ``batches`` can be read only once, is empty, or
            does not hold pairs; or a class has no examples, so the area is not defined.

    Source: Fawcett 2006, sections 7 and 9.2.
    """
    check_rereadable(batches, "auc")
    try:
        from torchmetrics.functional.classification import binary_auroc, multiclass_auroc
    except ImportError as error:
        raise InputError("torchmetrics is not installed: pip install 'eckart[metrics]'") from error

    def evaluate(model: nn.Module) -> Score:
        pairs = [_scored(logits, targets) for logits, targets in labelled(model, batches)]
        scores, targets = (torch.cat(column) for column in zip(*pairs, strict=True))
        classes = scores.shape[1]
        counts = torch.bincount(targets, minlength=classes)
        if len(counts) > classes or not counts.all():
            raise InputError(
                f"auc: the network has {classes} classes and the data have {counts.tolist()} "
                "examples of each; give examples of every class and of no other"
            )
        if classes == 2:
            value = binary_auroc(scores[:, 1], targets)
        else:
            value = multiclass_auroc(scores, targets, classes)
        return Score(float(value), len(targets))

    return evaluate


def _scored(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (rows, classes) and the class index of each row; a single logit means two classes."""
    axis = class_axis(logits)
    if axis is None:
        one = logits.flatten().float()
        rows = torch.stack([torch.zeros_like(one), one], 1)
    else:
        rows = logits.movedim(axis, -1).flatten(0, -2).float()
    if len(rows) != targets.numel() or targets.is_floating_point() or (targets < 0).any():
        raise InputError(
            f"auc got logits {tuple(logits.shape)} and {targets.dtype} targets "
            f"{tuple(targets.shape)}: expected class indices in the shape of the logits without "
            "the axis of the classes"
        )
    return rows.softmax(1), targets.flatten().long()


def _hits(logits: Tensor, targets: Tensor) -> Tensor:
    """Whether the largest logit is that of the target; shapes and classes must agree."""
    axis = class_axis(logits)
    if axis is None or logits.argmax(axis).shape != targets.shape:
        raise InputError(
            f"accuracy got logits {tuple(logits.shape)} and targets {tuple(targets.shape)}: "
            "expected targets in the shape of the logits without the axis of the classes"
        )
    if targets.max() >= logits.shape[axis]:
        raise InputError(
            f"a target is {int(targets.max())} and the network has {logits.shape[axis]} outputs: "
            "the data have more classes"
        )
    return logits.argmax(axis) == targets

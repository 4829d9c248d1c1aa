"""Scores of classifiers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from eckart.errors import InputError
from eckart.metrics import class_axis
from eckart.records import Score
from eckart.running.batches import check_rereadable
from eckart.scores.running import labelled


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
    check_rereadable(batches, "accuracy")

    def evaluate(model: nn.Module) -> Score:
        hits = [
            _hits(logits, targets).cpu().flatten() for logits, targets in labelled(model, batches)
        ]
        samples = torch.cat(hits).float()
        return Score(float(samples.double().mean()), len(samples), samples=samples)

    return evaluate


def auc(batches: Iterable[Any]) -> Callable[[nn.Module], Score]:
    """An ``evaluate`` that gives the area under the ROC curve, by ``torchmetrics``.

    For two classes, whether as two logits or as the logit of the second alone, the chance that an
    example of the second has a higher score than one of the first; for more, the mean over the
    classes of each against the others, scores being the softmax.

    Args:
        batches: pairs (inputs, targets), iterated once per evaluation; targets are class indices.

    Returns:
        ``evaluate(model) -> Score``.

    Raises:
        InputError: torchmetrics is not installed, ``batches`` can be read only once or gives no
            pair, or a class has no examples, or all of them: the area is not defined then.

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
                f"auc: the network tells {classes} classes apart and the data have "
                f"{counts.tolist()} examples of each; it needs some of every class"
            )
        if classes == 2:
            value = binary_auroc(scores[:, 1], targets)
        else:
            value = multiclass_auroc(scores, targets, classes)
        return Score(float(value), len(targets))

    return evaluate


def _scored(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (rows, classes), and a class index for each row; a single logit makes two classes."""
    axis = class_axis(logits)
    if axis is None:
        one = logits.flatten().float()
        rows = torch.stack([torch.zeros_like(one), one], 1)
    else:
        rows = logits.movedim(axis, -1).flatten(0, -2).float()
    if len(rows) != targets.numel() or targets.is_floating_point() or (targets < 0).any():
        raise InputError(
            f"auc got logits {tuple(logits.shape)} and {targets.dtype} targets "
            f"{tuple(targets.shape)}: targets are class indices in the logits' shape without the "
            "axis of the classes"
        )
    return rows.softmax(1), targets.flatten().long()


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

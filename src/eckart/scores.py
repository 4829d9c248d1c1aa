"""Task metrics to evaluate networks with; any function of a network does as well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import exp
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eckart.batches import call, inputs_of, moved
from eckart.errors import InputError
from eckart.metrics import class_axis, logits_of
from eckart.records import Score
from eckart.watch import untouched

Evaluate = Callable[[nn.Module], Score | float]


@runtime_checkable
class TorchMetric(Protocol):
    """What is asked of a metric: that of ``torchmetrics.Metric``."""

    higher_is_better: bool | None

    def reset(self) -> None:
        """Forget what was seen."""

    def update(self, *args: Any, **kwargs: Any) -> None:
        """See a batch: predictions and targets."""

    def compute(self) -> Any:
        """The value over all that was seen, a scalar."""


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
    _check_rereadable(batches, "accuracy")

    def evaluate(model: nn.Module) -> Score:
        hits = [_hits(logits, targets).cpu().flatten() for logits, targets in _run(model, batches)]
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
    _check_rereadable(batches, "auc")
    try:
        from torchmetrics.functional.classification import binary_auroc, multiclass_auroc
    except ImportError as error:
        raise InputError("torchmetrics is not installed: pip install 'eckart[metrics]'") from error

    def evaluate(model: nn.Module) -> Score:
        pairs = [_scored(logits, targets) for logits, targets in _run(model, batches)]
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


def perplexity(batches: Iterable[Any]) -> Callable[[nn.Module], Score]:
    """An ``evaluate`` that gives ``exp`` of the mean negative log-likelihood of the next token.

    Args:
        batches: dicts with ``input_ids`` of shape (batch, tokens), iterated once per evaluation.

    Returns:
        ``evaluate(model) -> Score`` where n counts the predicted tokens, all of each sequence but
        the first; lower is better.

    Raises:
        InputError: ``batches`` can be read only once, or predict no token.
    """
    _check_rereadable(batches, "perplexity")

    def evaluate(model: nn.Module) -> Score:
        total, n = 0.0, 0
        with untouched(model), torch.inference_mode():
            for batch in batches:
                inputs = moved(inputs_of(batch), model)
                targets = inputs["input_ids"][:, 1:]
                logits = logits_of(call(model, inputs))[:, :-1]
                for scores, words in zip(logits, targets, strict=True):
                    total += float(F.cross_entropy(scores.float(), words, reduction="sum"))
                n += targets.numel()
        if n == 0:
            raise InputError("no token was predicted: batches hold sequences of two tokens or more")
        return Score(exp(total / n), n, higher_is_better=False)

    return evaluate


def torch_metric(
    metric: TorchMetric,
    batches: Iterable[Any],
    *,
    predictions: Callable[[Tensor], Tensor] = lambda logits: logits,
    higher_is_better: bool | None = None,
) -> Callable[[nn.Module], Score]:
    """An ``evaluate`` by any ``torchmetrics.Metric`` whose value is one number.

    Args:
        metric: is reset before each evaluation and sees every batch, on the logits' device.
        batches: pairs (inputs, targets), iterated once per evaluation.
        predictions: what the metric is given of the logits, such as their softmax.
        higher_is_better: None asks the metric.

    Returns:
        ``evaluate(model) -> Score``, where n counts the targets.

    Raises:
        InputError: ``batches`` can be read only once or gives no pair, the metric does not say
            whether higher is better, or its value is not one finite number.

    Example:
        >>> import torch, torchmetrics
        >>> network, x = torch.nn.Linear(3, 1), torch.randn(8, 3)
        >>> evaluate = torch_metric(torchmetrics.MeanSquaredError(), [(x, network(x).detach())])
        >>> evaluate(network).value, evaluate(network).higher_is_better
        (0.0, False)
    """
    _check_rereadable(batches, "torch_metric")
    higher = metric.higher_is_better if higher_is_better is None else higher_is_better
    if higher is None:
        raise InputError(
            f"{type(metric).__name__} does not say whether higher is better: pass higher_is_better="
        )

    def evaluate(model: nn.Module) -> Score:
        metric.reset()
        n = 0
        for logits, targets in _run(model, batches):
            if isinstance(metric, nn.Module):
                metric.to(logits.device)
            metric.update(predictions(logits), targets)
            n += targets.numel()
        value = torch.as_tensor(metric.compute())
        if value.numel() != 1:
            raise InputError(
                f"{type(metric).__name__} gives {value.numel()} numbers; a score is one: "
                "ask it for an average"
            )
        return Score(float(value), n, higher)

    return evaluate


def _check_rereadable(batches: Iterable[Any], what: str) -> None:
    if isinstance(batches, Iterator):
        raise InputError(
            f"{what} reads its batches once per network, and this is an iterator that can be read "
            "only once: pass a list or a DataLoader"
        )


def _run(model: nn.Module, batches: Iterable[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and targets of each batch, of the network in eval mode.

    Raises:
        InputError: a batch is no pair, or there is none.
    """
    seen = False
    with untouched(model), torch.inference_mode():
        for batch in batches:
            if not (isinstance(batch, tuple | list) and len(batch) == 2):
                raise InputError("a score needs batches of (inputs, targets)")
            logits = logits_of(call(model, moved(inputs_of(batch), model)))
            yield logits, batch[1].to(logits.device)
            seen = True
    if not seen:
        raise InputError("the evaluation loader gave no batch")


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

"""Any metric of ``torchmetrics`` as a score."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from eckart.errors import InputError
from eckart.records import Score
from eckart.running.batches import check_rereadable
from eckart.scores.by_example import ByExample
from eckart.scores.running import labelled


@runtime_checkable
class TorchMetric(Protocol):
    """What a metric must do; every ``torchmetrics.Metric`` does it."""

    higher_is_better: bool | None

    def reset(self) -> None:
        """Forget all batches."""

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Take in the predictions and targets of a batch."""

    def compute(self) -> Any:
        """The value over all batches, a scalar."""


def torch_metric(
    metric: TorchMetric,
    batches: Iterable[Any],
    *,
    predictions: Callable[[Tensor], Tensor] = lambda logits: logits,
    higher_is_better: bool | None = None,
) -> ByExample:
    """Make an ``evaluate`` from any ``torchmetrics.Metric`` whose value is one number.

    Args:
        metric: reset before each evaluation; it gets every batch, on the device of the logits.
        batches: pairs (inputs, targets), iterated once per evaluation.
        predictions: turns logits into what the metric needs, such as their softmax.
        higher_is_better: None means what the metric says.

    Returns:
        ``evaluate(model) -> Score``; n is the number of targets. With ``confidence=``, networks
        are compared by the mean of the metric's values on single batches.

    Raises:
        InputError: ``batches`` can be read only once, is empty, or does not hold pairs; the metric
            does not say whether higher is better; or its value is not one finite number.

    Example:
        >>> import torch, torchmetrics
        >>> network, x = torch.nn.Linear(3, 1), torch.randn(8, 3)
        >>> evaluate = torch_metric(torchmetrics.MeanSquaredError(), [(x, network(x).detach())])
        >>> evaluate(network).value, evaluate(network).higher_is_better
        (0.0, False)
    """
    check_rereadable(batches, "torch_metric")
    higher = metric.higher_is_better if higher_is_better is None else higher_is_better
    if higher is None:
        raise InputError(
            f"{type(metric).__name__} does not say whether higher is better: give higher_is_better="
        )

    def value() -> float:
        found = torch.as_tensor(metric.compute())
        if found.numel() != 1:
            raise InputError(
                f"{type(metric).__name__} gives {found.numel()} numbers, but a score is one "
                "number: set its average="
            )
        return float(found)

    def update(logits: Tensor, targets: Tensor) -> int:
        if isinstance(metric, nn.Module):
            metric.to(logits.device)
        metric.update(predictions(logits), targets)
        return targets.numel()

    def whole(model: nn.Module) -> Score:
        metric.reset()
        n = sum(update(logits, targets) for logits, targets in labelled(model, batches))
        return Score(value(), n, higher_is_better=higher)

    def samples(model: nn.Module) -> Generator[Tensor, None, None]:
        for logits, targets in labelled(model, batches):
            metric.reset()
            update(logits, targets)
            yield torch.tensor([value()], dtype=torch.float64)

    return ByExample(whole, samples, batches, higher_is_better=higher, unit="batch")

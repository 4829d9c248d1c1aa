"""Any metric of ``torchmetrics`` as a score."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from eckart.errors import InputError
from eckart.records import Score
from eckart.running.batches import check_rereadable
from eckart.scores.running import labelled


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
    check_rereadable(batches, "torch_metric")
    higher = metric.higher_is_better if higher_is_better is None else higher_is_better
    if higher is None:
        raise InputError(
            f"{type(metric).__name__} does not say whether higher is better: pass higher_is_better="
        )

    def evaluate(model: nn.Module) -> Score:
        metric.reset()
        n = 0
        for logits, targets in labelled(model, batches):
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
        return Score(float(value), n, higher_is_better=higher)

    return evaluate

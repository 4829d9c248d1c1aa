"""Run a network over the data that it is evaluated on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from eckart.errors import InputError
from eckart.metrics import logits_of
from eckart.records import Score
from eckart.running.batches import call, inputs_of, moved
from eckart.running.hooks import untouched

Evaluate = Callable[[nn.Module], Score | float]


def outputs_over(model: nn.Module, batches: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Each batch, and the outputs of the network for it in eval mode.

    Raises:
        InputError: there is no batch.
    """
    seen = False
    with untouched(model), torch.no_grad():
        for batch in batches:
            yield batch, call(model, moved(inputs_of(batch), model))
            seen = True
    if not seen:
        raise InputError("the evaluation loader gave no batch")


def labelled(model: nn.Module, batches: Iterable[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and targets of each batch.

    Raises:
        InputError: a batch is not a pair, or there is no batch.
    """
    for batch, outputs in outputs_over(model, _pairs(batches)):
        logits = logits_of(outputs)
        yield logits, batch[1].to(logits.device)


def _pairs(batches: Iterable[Any]) -> Iterator[Any]:
    for batch in batches:
        if not (isinstance(batch, tuple | list) and len(batch) == 2):
            raise InputError("a score needs batches of (inputs, targets)")
        yield batch

"""Task metrics to evaluate networks with; any function of a network does as well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from eckart.batches import call, inputs_of, moved
from eckart.errors import InputError
from eckart.metrics import logits_of
from eckart.records import Score
from eckart.watch import untouched

Evaluate = Callable[[nn.Module], Score | float]


def accuracy(batches: Iterable[Any]) -> Callable[[nn.Module], Score]:
    """An ``evaluate`` that gives the fraction of examples whose largest logit is the target's.

    Args:
        batches: pairs (inputs, targets), iterated once per evaluation: a loader or a list.

    Returns:
        ``evaluate(model) -> Score`` with one sample per example.

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
                targets = batch[1].cpu()
                if targets.max() >= logits.shape[-1]:
                    raise InputError(
                        f"a target is {int(targets.max())} and the network has "
                        f"{logits.shape[-1]} outputs: the data have more classes"
                    )
                hits.append((logits.argmax(-1).cpu() == targets).flatten())
        if not hits:
            raise InputError("the evaluation loader gave no batch")
        samples = torch.cat(hits).float()
        return Score(float(samples.double().mean()), len(samples), samples=samples)

    return evaluate

"""Why a network does not run on the first example: the batch, a second input, or the cut itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from eckart.errors import InputError
from eckart.running.batches import call, tensors_in
from eckart.running.hooks import untouched

_TWO_INPUTS = (
    "; a pair is read as (inputs, targets): for a network of two inputs, give a dictionary of "
    "keyword arguments, or ((first, second), targets)"
)


def refusal(model: nn.Module, batch: Any, inputs: Any, error: Exception) -> InputError:
    """What to raise where a network does not run on the first example of a batch.

    Args:
        model: the network.
        batch: as the loader gave it.
        inputs: of that batch, on the network's device.
        error: what running the first example alone raised.
    """
    try:
        with untouched(model), torch.no_grad():
            call(model, inputs)
    except Exception as whole:
        shapes = ", ".join(f"{tuple(t.shape)} of {t.dtype}" for t in tensors_in(inputs))
        pair = isinstance(batch, tuple | list) and len(batch) == 2
        return InputError(
            f"the network does not run on the inputs {shapes}: {type(whole).__name__}: {whole}"
            + (_TWO_INPUTS if pair else "")
        )
    return InputError(
        "the network runs on a batch but not on a single example, for which costs are "
        f"counted: {type(error).__name__}: {error}"
    )

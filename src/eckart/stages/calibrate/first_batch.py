"""What the first batch tells: whether the network runs on it, on one example, and what it reads."""

from __future__ import annotations

from inspect import Parameter, signature
from typing import Any

from torch import Tensor, nn

from eckart.errors import InputError
from eckart.network.smallest import smallest_that_runs
from eckart.running.batches import tensors_in

_TWO_INPUTS = (
    "; a pair is read as (inputs, targets): for a network of two inputs, give a dictionary of "
    "keyword arguments, or ((first, second), targets)"
)
_ONE_LIST = (
    "; the tensors of a tuple or list are positional arguments: for a network that takes a list of "
    "examples, annotate it, forward(images: list[Tensor]), or give {'images': [...]}"
)
_NO_GRADIENT = "does not require grad"
_AUTOGRAD = (
    "; it seems to differentiate inside its forward pass, which runs without gradients here: put "
    "that part of forward into `with torch.enable_grad():`"
)
_TARGETS = ("target", "label", "y", "gt", "ground_truth")


def first_seen(model: nn.Module, inputs: Any, batch: Any) -> tuple[Any, Any]:
    """The example for which costs are counted, one or a whole batch, and the outputs for it.

    Args:
        model: the network.
        inputs: of the batch, on the network's device.
        batch: as the loader gave it.

    Raises:
        InputError: the network does not run on the batch.
    """
    try:
        return smallest_that_runs(model, inputs)
    except Exception as error:
        raise InputError(_refusal(batch, inputs, error)) from error


def _refusal(batch: Any, inputs: Any, error: Exception) -> str:
    """What to say where a network does not run on a batch."""
    shapes = ", ".join(f"{tuple(t.shape)} of {t.dtype}" for t in tensors_in(inputs, objects=True))
    pair = isinstance(batch, tuple | list) and len(batch) == 2
    several = isinstance(inputs, tuple | list) and len(inputs) > 1
    said = f"the network does not run on the inputs {shapes}: {type(error).__name__}: {error}"
    if _NO_GRADIENT in str(error):
        return said + _AUTOGRAD
    return said + (_ONE_LIST if several else _TWO_INPUTS if pair else "")


def unread(model: nn.Module, batch: Any) -> dict[str, str]:
    """The second part of a pair, if it may be an input that the network would read.

    It is taken as targets. That is doubtful if it is a floating tensor, and forward has a second
    argument that is None by default and whose name does not say that it takes targets.
    """
    if not (isinstance(batch, tuple | list) and len(batch) == 2):
        return {}
    second = batch[1]
    named = [*signature(model.forward).parameters.values()][1:2]
    may_read = [p.name for p in named if p.default is None and p.kind != Parameter.KEYWORD_ONLY]
    if not may_read or not isinstance(second, Tensor) or not second.is_floating_point():
        return {}
    if may_read[0].lower().rstrip("s") in _TARGETS:
        return {}
    how = f"give ((first, second), targets) if it is {may_read[0]!r} of forward"
    return {"batch[1]": f"the second of a pair is read as targets; {how}"}

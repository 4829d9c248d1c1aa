"""How close a network's outputs are to its teacher's, without labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eckart.errors import InputError
from eckart.metrics import class_axis, logits_of
from eckart.records import Score
from eckart.running.batches import call, inputs_of, tensors_in
from eckart.running.hooks import untouched
from eckart.running.masks import masks_of, real_rows

_TEMPERATURE = 4.0


def closeness(teacher: nn.Module, batches: Iterable[Any]) -> Callable[[nn.Module], Score]:
    """An ``evaluate`` that compares outputs with a teacher's; lower is better.

    For outputs with an axis of classes the score is ``T² KL(teacher ‖ network)`` of the softmax at
    temperature T, averaged over the positions of an example. For other outputs it is
    ``½ ‖y − t‖² / mean ‖t‖²``, with the mean over all examples. T is 4, because at 1 the few
    examples on which a confident classifier errs would decide alone. For (n, tokens, classes) T is
    1, and the score is in nats. Both networks run on each batch, so nothing is kept in memory.

    Args:
        teacher: the dense network, in eval mode.
        batches: read once per evaluation, on the network's device.

    Returns:
        ``evaluate(model) -> Score`` with one sample per example.
    """

    def evaluate(model: nn.Module) -> Score:
        parts: list[Tensor] = []
        scale, divergence = 0.0, True
        with untouched(model), torch.no_grad():
            for batch in batches:
                outputs, targets = (call(m, inputs_of(batch)) for m in (model, teacher))
                ours, theirs, axis = compared(outputs, targets)
                divergence = axis is not None
                if axis is not None:
                    parts.append(_divergence(ours, theirs, axis, inputs_of(batch)))
                else:
                    real = _real(inputs_of(batch), theirs.shape[:-1], theirs)[..., None]
                    ours, theirs = (t * real for t in (ours, theirs))
                    parts.append(0.5 * _per_example((ours - theirs).square()).sum(1))
                    scale += float(theirs.double().square().sum())
        samples = torch.cat(parts).cpu()
        if not divergence and scale > 0:
            samples = samples * len(samples) / scale
        value = float(samples.double().mean())
        return Score(value, len(samples), higher_is_better=False, samples=samples)

    return evaluate


def temperature_for(logits: Tensor) -> float:
    """The temperature T: 1 for (n, tokens, classes), otherwise 4."""
    return 1.0 if logits.dim() == 3 else _TEMPERATURE


def compared(outputs: Any, targets: Any) -> tuple[Tensor, Tensor, int | None]:
    """The outputs of two networks that are compared, and the axis of their classes.

    These are the logits, or else the first floating-point tensors, which have no axis of classes.

    Raises:
        InputError: there are none, or their shapes differ.
    """
    (ours, _), (theirs, axis) = _main(outputs), _main(targets)
    if ours.shape != theirs.shape:
        raise InputError(
            f"the teacher's outputs have shape {tuple(theirs.shape)}, the smaller network's "
            f"{tuple(ours.shape)}: pass the dense network that it was made from as the teacher"
        )
    return ours, theirs, axis


def _main(outputs: Any) -> tuple[Tensor, int | None]:
    try:
        found = logits_of(outputs)
    except InputError:
        found = next((t for t in tensors_in(outputs) if t.is_floating_point()), torch.empty(0))
        axis = None
    else:
        axis = class_axis(found)
    if not found.is_floating_point() or found.dim() == 0:
        raise InputError(
            f"found no output to compare in a {type(outputs).__name__}; give evaluate= instead"
        )
    return found, axis


def _divergence(ours: Tensor, theirs: Tensor, axis: int, inputs: Any) -> Tensor:
    """``T² KL`` to the teacher's probabilities, averaged over each example's real positions."""
    temperature = temperature_for(theirs)
    left, right = (F.log_softmax(t.float() / temperature, axis) for t in (ours, theirs))
    positions = F.kl_div(left, right, reduction="none", log_target=True).sum(axis)
    real = _real(inputs, positions.shape, positions)
    total, counted = (_per_example(t).sum(1) for t in (positions * real, real))
    return temperature**2 * total / counted.clamp_min(1)


def _real(inputs: Any, shape: torch.Size, like: Tensor) -> Tensor:
    """One at each position that is not padding, zero elsewhere."""
    real = real_rows(masks_of(inputs), shape)
    return like.new_ones(shape) if real is None else real.reshape(shape).to(like)


def _per_example(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1)

"""Which outputs of two networks are compared, and how."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eckart.errors import InputError
from eckart.metrics import class_axis, logits_of
from eckart.metrics.floating import floating
from eckart.metrics.probes import named
from eckart.running.batches import examples_in, inputs_of, tensors_in


@dataclass(frozen=True)
class Pair:
    """One output of two networks.

    Attributes:
        path: where it is in what the networks return; that of the main output is empty.
        ours, theirs: of the smaller network and of the teacher, of one shape.
        axis: of the classes; None if it has none.
    """

    path: str
    ours: Tensor
    theirs: Tensor
    axis: int | None


def compared(outputs: Any, targets: Any, batch: Any) -> list[Pair]:
    """The main output, which may have classes, and all others that have one entry per example.

    The main output is the logits, or else the first floating tensor, which has no axis of classes.
    It has none either where the batch comes with floating targets of its shape. An encoder's pooled
    output is left to the pooler, which most users do not take.

    Args:
        outputs: of the smaller network.
        targets: of the teacher.
        batch: that they were computed from.

    Raises:
        InputError: there is no output, or the shapes differ.
    """
    (ours, _), (theirs, axis) = _main(outputs), _main(targets)
    if _are_values(batch, theirs):
        axis = None
    pairs = [Pair("", ours, theirs, axis), *_others(outputs, targets, theirs, batch)]
    for pair in pairs:
        if pair.ours.shape != pair.theirs.shape:
            raise InputError(
                f"the teacher's outputs have shape {tuple(pair.theirs.shape)}, the smaller "
                f"network's {tuple(pair.ours.shape)}{pair.path and f' at {pair.path}'}: pass the "
                "dense network that it was made from as the teacher"
            )
    return pairs


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


def _are_values(batch: Any, main: Tensor) -> bool:
    """Whether the targets of a batch are numbers like the outputs, so that no softmax follows."""
    targets = None if inputs_of(batch) is batch else batch[1]
    return (
        isinstance(targets, Tensor) and targets.is_floating_point() and targets.shape == main.shape
    )


def _others(outputs: Any, targets: Any, main: Tensor, batch: Any) -> Iterator[Pair]:
    encoder = named(targets, "last_hidden_state") is not None and named(targets, "logits") is None
    if isinstance(targets, Tensor) or encoder:
        return
    count, ours = examples_in(inputs_of(batch)), floating(outputs).values
    for path, found in floating(targets).values.items():
        here = ours.get(path, ())
        theirs = found[0]
        alone = len(found) == 1 and len(here) == 1
        if alone and theirs.data_ptr() != main.data_ptr() and len(theirs) == count:
            yield Pair(path, here[0], theirs, None)

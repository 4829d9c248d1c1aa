"""Activations rounded in a network whose other weights are in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from eckart.errors import MismatchError
from eckart.layers import Activations, decoded
from eckart.network.activation_ranges import Weighing, ranges_of
from eckart.network.replacing import copied


def round_activations(
    model: nn.Module, weighing: Mapping[str, Weighing], sample: Sequence[Any]
) -> None:
    """Set what the activations of layers in codes are rounded to, in place.

    Ranges are those of the smaller network on the sample.

    Args:
        model: the smaller network.
        weighing: by layer; those that did not get their codes are left out.
        sample: of the calibration data.

    Raises:
        MismatchError: the sample does not call a layer, so its ranges are not known.
    """
    found = {name: _activations(model.get_submodule(name)) for name in weighing}
    able = {name: part for name, part in found.items() if part is not None}
    if not able:
        return
    plain = copied(model)
    for name in able:
        plain.set_submodule(name, decoded(plain.get_submodule(name)))  # type: ignore[arg-type]
    ranges = ranges_of(plain, {name: weighing[name] for name in able}, sample)
    for name, part in able.items():
        if name not in ranges:
            raise MismatchError(
                f"layer {name!r:.80}: the sample in the moments does not call it, so the range of "
                "its activations is not known; calibrate again"
            )
        part.take(ranges[name].input, ranges[name].output)


def _activations(module: nn.Module) -> Activations | None:
    """What rounds the activations of a layer in codes."""
    return next((m for m in module.modules() if isinstance(m, Activations)), None)

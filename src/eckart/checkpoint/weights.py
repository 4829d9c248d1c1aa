"""What a safetensors file holds, by its header alone, and whether that is what it should be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from eckart.errors import CheckpointError
from eckart.storage.tensors import Outline, outlines_of


def check_weights(path: Path, expected: Mapping[str, Outline], tied: Mapping[str, str]) -> None:
    """Compare the file's header, before any tensor is read, with what is expected.

    Args:
        path: the file.
        expected: shape and dtype by name.
        tied: for every name, the first of those that share its memory; the file holds one of them.

    Raises:
        CheckpointError: the file is unreadable, or anything is missing, surplus or different.
    """
    found = outlines_of(path)
    first: dict[str, str] = {}
    for name in found:
        twin = first.setdefault(tied.get(name, name), name)
        if twin != name:
            raise CheckpointError(
                f"{path} does not fit this model: it holds {twin!r} and {name!r} apart, and here "
                "they share one weight"
            )
    present = {tied.get(name, name) for name in found}
    missing = sorted(name for name in expected if tied.get(name, name) not in present)
    surplus = sorted(set(found) - set(expected))
    if missing or surplus:
        raise CheckpointError(
            f"{path} does not fit this model: missing {missing[:5]}, surplus {surplus[:5]}; make "
            "it with the class and arguments of the original"
        )
    for name, outline in found.items():
        if outline != expected[name]:
            raise CheckpointError(
                f"{path} does not fit this model: {name!r} is {outline} in the file and "
                f"{expected[name]} here; convert the fresh model with .to(dtype) first if only the "
                "dtype differs"
            )


def check_orders(path: Path, layers: Iterable[str], tensors: Mapping[str, Tensor]) -> None:
    """What carries must do so in an order, for things are looked up by it.

    Args:
        path: the file, for the message.
        layers: the pieces that carry, by name.
        tensors: what the file holds.

    Raises:
        CheckpointError: the ``order`` of one of them is no permutation.
    """
    for layer in layers:
        order = tensors[f"{layer}.order"]
        if not torch.equal(order.sort().values, torch.arange(len(order))):
            raise CheckpointError(f"{path}: the order of layer {layer!r} is no permutation")

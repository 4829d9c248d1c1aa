"""Split the examples into those that networks are fitted to and those held out to judge them.

A hash of an example's inputs decides whether it is held out. So a loader may shuffle, and an
example that occurs twice is never on both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eckart.errors import InputError, NonFiniteError
from eckart.running.batches import (
    check_rereadable,
    examples_in,
    inputs_of,
    moved,
    some_examples,
    tensors_in,
)

_MOST = 4096  # most examples that are held out


@dataclass(frozen=True)
class Batches:
    """Some examples of a source, on a device, as batches that can be read again and again.

    Attributes:
        source: the batches that the caller gave.
        like: the network whose device the batches are moved to.
        held_out: hashes of the examples that are left out here.
        examples: number of examples that remain.
    """

    source: Iterable[Any]
    like: nn.Module
    held_out: frozenset[int]
    examples: int

    def __iter__(self) -> Iterator[Any]:
        for batch in self.source:
            hashes = _hashes(batch)
            rows = [i for i, value in enumerate(hashes) if value not in self.held_out]
            if len(rows) == len(hashes):
                yield moved(batch, self.like)
            elif rows:
                yield moved(some_examples(batch, rows), self.like)


@dataclass(frozen=True)
class Parts:
    """The two parts of the examples.

    Attributes:
        fitting: read from the source again in each pass.
        held_out: kept in memory; empty if nothing is held out.
    """

    fitting: Batches
    held_out: tuple[Any, ...]


def parted(batches: Iterable[Any], like: nn.Module, fraction: float) -> Parts:
    """Hold out a fraction of the examples, at most 4,096, chosen by a hash of their inputs.

    Args:
        batches: a list or loader, read twice here.
        like: the network whose device the batches are moved to.
        fraction: fraction of the examples to hold out; 0 holds none out.

    Raises:
        InputError: the source can be read only once, is empty, or is too small to be split.
        NonFiniteError: the inputs hold NaN or infinity.
    """
    check_rereadable(batches, "healing", "several times")
    if not 0 <= fraction < 1:
        raise InputError(f"held_out={fraction}: give a fraction of the examples in [0, 1)")
    hashes = [value for batch in batches for value in _hashes(_checked(batch))]
    if not hashes:
        raise InputError("the loader gave no batch: healing needs at least one")
    chosen = _least(hashes, fraction)
    out = [value in chosen for value in hashes]
    if chosen and all(out):
        raise InputError(
            f"all {len(hashes)} examples are alike or too few to hold some out; give more data, or "
            "held_out=0 and evaluate="
        )
    kept = (
        some_examples(batch, rows)
        for batch in (batches if chosen else ())
        if (rows := [i for i, value in enumerate(_hashes(batch)) if value in chosen])
    )
    held = tuple(moved(batch, like) for batch in kept)
    return Parts(Batches(batches, like, chosen, len(out) - sum(out)), held)


def _least(hashes: list[int], fraction: float) -> frozenset[int]:
    """The smallest hashes, about this fraction of them; at least one unless it is 0."""
    if fraction == 0:
        return frozenset()
    count = min(_MOST, max(1, round(fraction * len(hashes))))
    return frozenset(sorted(hashes)[:count])


def _checked(batch: Any) -> Any:
    for tensor in tensors_in(inputs_of(batch), objects=True):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise NonFiniteError("the inputs hold NaN or infinity: clean the data")
    return batch


def _hashes(batch: Any) -> list[int]:
    """One hash per example, computed from all of its inputs."""
    inputs = inputs_of(batch)
    count = examples_in(inputs)
    digests = [hashlib.blake2b(digest_size=8) for _ in range(count)]
    for tensor in tensors_in(inputs, objects=True):
        if tensor.dim() and len(tensor) == count:
            for digest, row in zip(digests, _bytes(tensor), strict=True):
                digest.update(row.numpy().data)
    return [int.from_bytes(digest.digest(), "big") for digest in digests]


def _bytes(tensor: Tensor) -> Tensor:
    """The rows of a tensor as bytes."""
    flat = tensor.detach().cpu().reshape(len(tensor), tensor[0].numel()).contiguous()
    return flat.view(torch.uint8)

"""Passes over the data whose randomness depends only on the seed and the step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

import torch

from eckart.errors import InputError

_SEED_STRIDE = 1_000_003  # a prime, so that (seed, step) pairs rarely meet


def passes(
    batches: Iterable[Any], seed: int, step: int = 0, begun: int = 0
) -> Iterator[tuple[int, Any]]:
    """Endless batches, pass after pass, from step ``step`` on.

    Torch's random state is set from (seed, step) before each batch is read. So the loader's order,
    its augmentation and what the caller draws afterwards are the same when a run resumes in the
    middle. Only a loader with a generator of its own then has another order.

    Args:
        batches: a list or loader that can be read again and again.
        seed: seed of everything random.
        step: step of the first batch that is wanted.
        begun: step at which its pass began; the batches in between are read and dropped.

    Yields:
        The step at which the pass began, and a batch.

    Raises:
        InputError: a pass gave no batch.
    """
    while True:
        torch.manual_seed(seed * _SEED_STRIDE + begun)
        source, now = iter(batches), begun
        for now in count(begun):
            if now > begun:
                torch.manual_seed(seed * _SEED_STRIDE + now)
            try:
                batch = next(source)
            except StopIteration:
                break
            if now >= step:
                yield begun, batch
        if now == begun:
            raise InputError(
                f"the pass that began with step {begun} gave no batch: distillation needs data "
                "that can be read several times, such as a list or a DataLoader"
            )
        begun = now

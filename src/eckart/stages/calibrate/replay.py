"""Batches that are gone over several times, and must be the same each time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, final

import torch

from eckart.errors import InputError
from eckart.running.batches import tensors_in


@final
class Replayed:
    """Batches with a digest of all their tensors, which every pass over them must give again.

    Args:
        batches: a list or a loader; gone over once here.

    Attributes:
        first: the first batch.
        digest: of shapes, dtypes and bytes, in order.

    Raises:
        InputError: it can be gone over only once, or holds nothing.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        if iter(batches) is batches:
            raise InputError(
                f"a workspace goes over the batches several times, and a {type(batches).__name__} "
                "can be read only once: give a list, or a loader without shuffling"
            )
        self.batches, self._last, self.first = batches, "", None
        for index, batch in enumerate(self):
            self.first = batch if index == 0 else self.first
        self.digest = self._last
        if self.first is None:
            raise InputError("the loader gave no batch: calibration needs at least one")

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        digest = hashlib.sha256()
        for batch in self.batches:
            for tensor in tensors_in(batch, objects=True):
                plain = tensor.detach().cpu().contiguous()
                digest.update(f"{tuple(plain.shape)} {plain.dtype}".encode())
                digest.update(plain.flatten().view(torch.uint8).numpy().tobytes())
            yield batch
        self._last = digest.hexdigest()[:16]

    def check(self) -> None:
        """Whether the last pass gave what the first did.

        Raises:
            InputError: it gave something else.
        """
        if self._last != self.digest:
            raise InputError(
                "the loader gave other batches than the first time: turn shuffling and random "
                "augmentation off, a workspace goes over the same batches several times"
            )

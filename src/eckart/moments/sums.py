"""Sums by layer or input: their diagonals, traces and totals."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from eckart.storage.workspace import StoredSums


def diagonal(sums: Mapping[str, Tensor], key: str) -> Tensor:
    """The diagonals of one stack of matrices; of stored ones, the rest is not read."""
    if isinstance(sums, StoredSums):
        return sums.diagonal(key)
    return sums[key].diagonal(dim1=-2, dim2=-1)


def trace(gram: Tensor) -> Tensor:
    """The trace per group, with shape (groups, 1, 1)."""
    return gram.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]


def added(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The sums over both parts of the data, by key."""
    total = {**right, **left}
    return {k: left[k] + right[k] if k in left and k in right else t for k, t in total.items()}

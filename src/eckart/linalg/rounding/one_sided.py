"""Rounding column after column. Each loss is passed on to the columns before it."""

from __future__ import annotations

from jaxtyping import Float64
from torch import Tensor

from eckart.linalg.rounding.entries import LOST, TARGET, settle

_BLOCK = 64


def round_columns(
    entries: Float64[Tensor, "4 b out in"], lower: Float64[Tensor, "b in in"], top: int
) -> None:
    """Round ``W + E (L − I)`` from the last column to the first, in place.

    ``E`` is what the columns rounded so far have lost. A block of columns takes up what all later
    blocks have lost in one product. Inside a block, a column is passed on as an outer product.

    Args:
        entries: as `settle` takes and leaves them; the targets need not be set.
        lower: L, unit lower triangular.
        top: the largest code.

    Cost: out · in² / 2 multiply-adds, all but a share of 64 / in in large products.

    Source: Frantar et al. 2022 (2210.17323); Chee et al. 2023 (2307.13304), LDLQ.
    """
    target, lost = entries[TARGET], entries[LOST]
    for stop in range(entries.shape[-1], 0, -_BLOCK):
        block = slice(max(0, stop - _BLOCK), stop)
        passed = lost[..., stop:] @ lower[:, stop:, block]
        target[..., block] = lost[..., block] + passed
        columns = entries[..., block].mT.contiguous()
        _round_inside(columns, lower[:, block, block, None], top)
        entries[..., block] = columns.mT


def _round_inside(columns: Tensor, lower: Tensor, top: int) -> None:
    """The same for the columns of one block, which are the rows of ``columns``."""
    for column in range(columns.shape[2] - 1, -1, -1):
        lost = settle(columns[:, :, column], top)
        earlier = columns[TARGET, :, :column]
        earlier.addcmul_(lost[:, None], lower[:, column, :column])

"""Codes of a table: every row is rounded by itself, and ``G`` lets its entries take up errors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from eckart.linalg.rounding import Grid, Rounded, Triangle, choose_grid, round_weight, width_losses
from eckart.methods.tables import Table

_FREQUENT, _OTHERS = 1024, 1024  # rows from which losses are expected
_CHUNK = 1024  # rows that are rounded at once


def table_losses(
    table: Table, g: Triangle, bits: Sequence[int], spans: Sequence[int | None]
) -> Float64[Tensor, "bits spans"]:
    """What codes of each width and span are expected to lose.

    The most frequent rows are looked at, and every so many of the others.

    Args:
        table: with the frequencies of its rows.
        g: of the damped second moment of the output gradients.
        bits: widths.
        spans: columns that share a scale; None is a whole row.
    """
    rows, weights = _sample(table)
    mean = weights.mean()
    scaled = rows.double() * (weights / mean).sqrt()[:, None]  # codes do not depend on a row's size
    return mean * width_losses(scaled[None], g, bits=bits, spans=spans)


def coded_table(
    table: Table, g: Triangle, moment: Float64[Tensor, "1 out out"], bits: int, span: int | None
) -> Rounded:
    """The whole table in codes, with what they lose under a moment of output gradients.

    Cost: in · out² / 2 multiply-adds.
    """
    grid = choose_grid(table.rows[None], bits, span, a=g).grid
    codes, loss = [], 0.0
    for at in range(0, len(table.rows), _CHUNK):
        part = slice(at, at + _CHUNK)
        rows = table.rows[None, part].double()
        found = round_weight(rows, Grid(grid.scale[:, part], None, bits, grid.span), a=g)
        lost = (rows - found.weight.double())[0]
        by_row = ((lost @ moment[0]) * lost).sum(1)
        loss += 0.5 * float(by_row @ table.frequencies[part])
        codes.append(found.codes)
    return Rounded(torch.cat(codes, 1), grid, loss)


def _sample(table: Table) -> tuple[Tensor, Float64[Tensor, " rows"]]:
    """Some rows, and frequencies that stand for those of all."""
    order = table.frequencies.argsort(descending=True)
    first, others = order[:_FREQUENT], order[_FREQUENT:]
    some = others[:: max(1, len(others) // _OTHERS)]
    share = table.frequencies[others].sum() / table.frequencies[some].sum().clamp_min(1e-300)
    weights = torch.cat([table.frequencies[first], table.frequencies[some] * share])
    return table.rows[torch.cat([first, some])], weights

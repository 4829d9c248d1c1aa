"""A low-rank matrix as some of its rows, plus coefficients that give the other rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from torch.nn import functional as F

from eckart.errors import InputError
from eckart.linalg.admissible import admissible_matrix

_BOUND = 2.0  # largest coefficient, so that rounding of the rows is not magnified
_EXCHANGES = 200


@dataclass(frozen=True)
class SpanningRows:
    """``M = cat(rows, rest @ rows)[order]`` with ``rows = M[kept]``.

    Attributes:
        rows: shape (rank, in).
        rest: coefficients of the other rows, shape (out - rank, rank).
        order: a permutation, shape (out,): the place of each row of ``M``.
    """

    rows: Float64[Tensor, "rank in"]
    rest: Float64[Tensor, "others rank"]
    order: Int64[Tensor, " out"]


def spanning_rows(
    left: Float64[Tensor, "out rank"], right: Float64[Tensor, "rank in"]
) -> SpanningRows:
    """Rewrite ``left @ right`` so that ``rank`` of its rows give all others.

    This stores rank² fewer numbers than two factors do. Rows are chosen by partial pivoting, then
    exchanged while a coefficient is above two.

    Args:
        left: first factor; the rank is less than ``out``. The product may have a lower rank.
        right: second factor.

    Raises:
        InputError: the widths of the factors differ, or the rank is not less than ``out``.

    Cost: O((out + in) rank²).

    Source: Cheng, Gimbutas, Martinsson & Rokhlin 2005 for the interpolative decomposition; Goreinov
        et al. 2010 (maxvol) for the exchanges; Zhao et al. 2025 (2501.19090) for the use in layers.

    Example:
        >>> import torch
        >>> left, right = torch.randn(9, 3).double(), torch.randn(3, 5).double()
        >>> found = spanning_rows(left, right)
        >>> whole = torch.cat([found.rows, found.rest @ found.rows])[found.order]
        >>> bool(torch.allclose(whole, left @ right))
        True
    """
    left, right = admissible_matrix(left, "left"), admissible_matrix(right, "right")
    out, rank = left.shape
    if len(right) != rank or not rank < out:
        raise InputError(
            f"spanning_rows: factors of shapes {tuple(left.shape)} and {tuple(right.shape)}; "
            "expected (out, rank) and (rank, in) with rank less than out"
        )
    coordinates = left @ torch.linalg.qr(right.mT, mode="r").R.mT  # of the rows of the matrix
    coordinates = F.pad(coordinates, (0, rank - coordinates.shape[1]))  # if the rank exceeds ``in``
    permutation, lower, _ = torch.linalg.lu(coordinates)
    places = permutation.argmax(0)  # of the rows, the best first
    top, bottom = lower[:rank], lower[rank:]
    rest = torch.linalg.solve_triangular(top, bottom, upper=False, left=False, unitriangular=True)
    rest, places = _exchanged(rest, places)
    order = torch.empty_like(places)
    order[places] = torch.arange(out, device=left.device)
    return SpanningRows(left[places[:rank]] @ right, rest, order)


def _exchanged(rest: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Swap kept rows for others as long as a coefficient is too large."""
    rank = rest.shape[1]
    for _ in range(_EXCHANGES):
        largest = int(rest.abs().argmax())
        i, j = divmod(largest, rank)
        pivot = rest[i, j].clone()
        if pivot.abs() <= _BOUND:
            break
        row, column = rest[i].clone(), rest[:, j].clone()
        row[j], column[i] = row[j] - 1, column[i] + 1
        rest = rest - torch.outer(column, row) / pivot
        places[[j, rank + i]] = places[[rank + i, j]]
    return rest, places

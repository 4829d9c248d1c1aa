"""A second moment as unit triangle times diagonal times unit triangle."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from eckart.linalg.admissible import admissible_stack
from eckart.linalg.rounding.ordering import least_first

_TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Triangle:
    """``moment[order][:, order] = L D Lᵀ`` with ones on the diagonal of ``L``.

    Rounding goes through the order from its end. ``D_j`` is the variance of a variable that those
    before it leave unexplained: what one rounding error in its column costs when the columns before
    it take up what they can.

    Attributes:
        lower: L, shape (*b, n, n).
        diagonal: D, shape (*b, n), positive.
        order: which variable is at each place, shape (*b, n).
    """

    lower: Float64[Tensor, "*b n n"]
    diagonal: Float64[Tensor, "*b n"]
    order: Int64[Tensor, "*b n"]

    @cached_property
    def is_diagonal(self) -> bool:
        """Whether nothing can be passed on, because L is the identity."""
        return not self.lower.tril(-1).any()

    @cached_property
    def costs(self) -> Float64[Tensor, "*b n"]:
        """D of each variable, in the order in which they were given."""
        return torch.empty_like(self.diagonal).scatter_(-1, self.order, self.diagonal)

    @cached_property
    def echoes(self) -> Float64[Tensor, "*b n n"]:
        """What rounding leaves behind, in the order in which the variables were given.

        If the rounding errors of variable k have variance p_k and no correlation, ``p @ echoes`` is
        the variance of what is finally lost in each variable. O(n³).
        """
        places = self.order.argsort(-1)
        rows = self._squares.gather(-2, places[..., :, None].expand_as(self.lower))
        found: Tensor = rows.gather(-1, places[..., None, :].expand_as(self.lower))
        return found

    @cached_property
    def heard(self) -> Float64[Tensor, "*b n"]:
        """The sum of ``echoes`` over the rounding errors."""
        return torch.empty_like(self.diagonal).scatter_(-1, self.order, self._squares.sum(-2))

    @cached_property
    def _squares(self) -> Float64[Tensor, "*b n n"]:
        """The squares of ``L⁻¹``."""
        eye = torch.eye(self.lower.shape[-1]).to(self.lower).expand_as(self.lower)
        inverse = torch.linalg.solve_triangular(self.lower, eye, upper=False, unitriangular=True)
        squares: Tensor = inverse.square_()
        return squares


def triangle(moment: Float[Tensor, "*b n n"], *, ordered: bool = True) -> Triangle:
    """Factor a damped second moment, by Cholesky or, where that fails, by a root and a QR.

    The second way takes any symmetric matrix; eigenvalues below rounding count as rounding.

    Args:
        moment: A or G, symmetric and damped; float16 to float64.
        ordered: whether to choose the order that makes ``Σ D_j`` small, see `least_first`.

    Raises:
        InputError: it is empty, complex, integer or on ``meta``. NonFiniteError for NaN and
            infinity.

    Cost: O(n³).

    Example:
        >>> found = triangle(torch.tensor([[5.0, 1.0], [1.0, 1.0]]))
        >>> found.lower.tolist(), found.diagonal.tolist(), found.order.tolist()
        ([[1.0, 0.0], [1.0, 1.0]], [1.0, 4.0], [1, 0])
    """
    moment = admissible_stack(moment, "moment")
    flat = moment.reshape(-1, *moment.shape[-2:])
    places = torch.arange(flat.shape[-1], device=flat.device).expand(flat.shape[:2])
    if ordered:
        places = least_first(flat)
        rows = flat.gather(1, places[:, :, None].expand_as(flat))
        flat = rows.gather(2, places[:, None, :].expand_as(flat))
    lower, failed = torch.linalg.cholesky_ex(flat)
    if failed.any():
        lower = _by_root(flat)
    pivots = lower.diagonal(dim1=-2, dim2=-1)
    unit = (lower / pivots[..., None, :]).view_as(moment)
    diagonal = pivots.square().view(moment.shape[:-1])
    return Triangle(unit, diagonal, places.reshape(moment.shape[:-1]))


def _by_root(moment: Tensor) -> Float64[Tensor, "b n n"]:
    """A lower triangle whose square is the moment, after its eigenvalues are made positive."""
    values, vectors = torch.linalg.eigh((moment + moment.mT) / 2)
    least = moment.shape[-1] * torch.finfo(moment.dtype).eps
    values = values.maximum(values[..., -1:].clamp_min(_TINY) * least)
    upper = torch.linalg.qr(values.sqrt()[..., None] * vectors.mT, mode="r")[1]
    pivots = upper.diagonal(dim1=-2, dim2=-1)
    upper *= torch.where(pivots < 0, -1.0, 1.0)[..., None]
    lower: Tensor = upper.mT.contiguous()
    return lower

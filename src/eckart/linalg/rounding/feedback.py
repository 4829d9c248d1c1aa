"""Rounding a weight to its grid, with what the moments allow to be passed on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Float64, UInt8
from torch import Tensor

from eckart.errors import InputError
from eckart.linalg.rounding.checks import as_stack
from eckart.linalg.rounding.entries import CODE, TARGET, settle
from eckart.linalg.rounding.grids import Grid
from eckart.linalg.rounding.one_sided import round_columns
from eckart.linalg.rounding.triangles import Triangle
from eckart.linalg.rounding.two_sided import round_both_ways


@dataclass(frozen=True, eq=False)
class Rounded:
    """A weight on its grid.

    Attributes:
        codes: shape (*b, out, in).
        grid: what the codes stand for.
        loss: ``½ tr(G (W − Q) A (W − Q)ᵀ)`` under the triangles' moments, summed over groups.
    """

    codes: UInt8[Tensor, "*b out in"]
    grid: Grid
    loss: float

    @property
    def weight(self) -> Float32[Tensor, "*b out in"]:
        """Q, in float32."""
        return self.grid.values(self.codes)


def round_weight(
    weight: Float[Tensor, "*b out in"],
    grid: Grid,
    *,
    a: Triangle | None = None,
    g: Triangle | None = None,
) -> Rounded:
    """Round with feedback: each entry takes up what the entries rounded before it have lost.

    In the order of the triangles, from last to first, ``W_ij + (L_Gᵀ E L_A)_ij − E_ij`` is rounded
    with an error ``η_ij``, where ``E = W − Q`` is zero for what is not rounded yet. The loss is
    then ``½ Σ_ij D_G,i D_A,j η_ij²``. Without ``g`` this is GPTQ; without both, it is rounding to
    nearest.

    Args:
        weight: W; float16 to float64.
        grid: as `choose_grid` gives it.
        a: of the damped second moment of the inputs; None is the identity.
        g: of that of the output gradients; None is the identity.

    Raises:
        InputError: shapes that do not fit. NonFiniteError for NaN and infinity.

    Cost: out · in · (out + in) / 2 multiply-adds.

    Source: Frantar et al. 2022 (2210.17323); Tseng et al. 2025 (2505.22988).
    """
    flat = as_stack(weight, a, g)
    stack, out, inputs = flat.shape
    a, g = _stacked(a, stack, inputs, flat), _stacked(g, stack, out, flat)
    groups, rows, columns = places = _places(a, g)
    entries = _entries(flat, grid, weight.shape)[:, groups, rows, columns]
    _round(entries, a, g, grid.top)
    priced = entries[TARGET].square() * a.diagonal[:, None, :] * g.diagonal[:, :, None]
    codes = torch.empty_like(flat, dtype=torch.uint8)
    codes[places] = entries[CODE].to(torch.uint8)
    return Rounded(codes.view(weight.shape), grid, 0.5 * float(priced.sum()))


def _entries(flat: Tensor, grid: Grid, shape: torch.Size) -> Float64[Tensor, "4 b out in"]:
    """Targets and weights above the value of code 0, inverse scales, and scales."""
    inputs = shape[-1]
    expected = (*shape[:-1], -(-inputs // grid.span))
    if tuple(grid.scale.shape) != expected:
        got = tuple(grid.scale.shape)
        raise InputError(f"the grid has scales of shape {got}; the weight needs {expected}")
    scale, zero = (
        grid.over(inputs, values.double()).reshape(flat.shape)
        for values in (grid.scale, grid.origin)
    )
    inverse, above = torch.where(scale == 0, 0.0, scale.reciprocal()), flat + zero * scale
    return torch.stack([above, above, inverse, scale])


def _stacked(found: Triangle | None, stack: int, size: int, like: Tensor) -> Triangle:
    """A triangle with one axis of groups; the identity for None."""
    if found is None:
        places = torch.arange(size, device=like.device).expand(stack, size)
        eye = torch.eye(size, dtype=like.dtype, device=like.device).expand(stack, size, size)
        return Triangle(eye, eye.diagonal(dim1=1, dim2=2), places)
    lower = found.lower.reshape(stack, size, size)
    return Triangle(lower, found.diagonal.reshape(stack, size), found.order.reshape(stack, size))


def _places(a: Triangle, g: Triangle) -> tuple[Tensor, Tensor, Tensor]:
    """Indices that put a stack of weights into the order of the triangles."""
    groups = torch.arange(len(a.order), device=a.order.device)
    return groups[:, None, None], g.order[:, :, None], a.order[:, None, :]


def _round(entries: Float64[Tensor, "4 b out in"], a: Triangle, g: Triangle, top: int) -> None:
    """Round in place, in the simplest way that passes on what can be passed on."""
    if a.is_diagonal and g.is_diagonal:
        settle(entries, top)
    elif g.is_diagonal:
        round_columns(entries, a.lower, top)
    elif a.is_diagonal:
        round_columns(entries.mT, g.lower, top)
    else:
        round_both_ways(entries, a.lower, g.lower, top)

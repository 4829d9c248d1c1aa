"""Spatial factors of one rank, refined under the full ``A``.

``separable_factors`` takes the first factor that is optimal for a product of two moments, so that
all ranks are nested. For one rank the first factor itself can be searched, with the second at its
best for each (variable projection, see ``projection``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn.functional import normalize

from eckart.linalg.balance import balanced
from eckart.linalg.descent import Value, descended
from eckart.linalg.projection import Projection, affordable

_SEARCHED, _SETTLED = 20, 1e-4
_FAINTEST = 1e-3  # a component's weight relative to the mean, in the scale of its start


@dataclass(frozen=True)
class SeparablePair:
    """``W[o, c, y, x] ≈ Σᵣ second[o, r, x] first[r, c, y]``, with its loss."""

    first: Float64[Tensor, "rank c kh"]
    second: Float64[Tensor, "out rank kw"]
    loss: float


@torch.no_grad()
def separable_refined(
    kernel: Float64[Tensor, "out c kh kw"],
    a: Float64[Tensor, "in in"],
    g: Float64[Tensor, "out out"],
    first: Float64[Tensor, "rank c kh"],
    second: Float64[Tensor, "out rank kw"],
    most: int = _SEARCHED,
) -> SeparablePair:
    """The factors after some steps of L-BFGS, or the same ones if that does not lower the loss.

    Args:
        kernel: weight of one group.
        a: damped second moment of the patches, in = c · kh · kw ordered (c, kh, kw).
        g: damped second moment of the output gradients.
        first: the kernel along the first axis to begin with.
        second: the kernel along the other axis.
        most: number of steps.

    Cost: at most ``most`` times O(kw·rank·in² + kw·rank·out·in + (kw·rank)³); fewer steps for wide
        layers, and none where a step takes a third of a second.
    """
    problem, kw = Projection(kernel.flatten(1), a, g), kernel.shape[3]
    before = problem.loss(second.flatten(1), _rows(first, kw))
    most = affordable(len(first) * kw, a.shape[0], most)
    if most == 0:
        return SeparablePair(first, second, before)
    found = _descended(problem, first, second.norm(dim=(0, 2)), most)
    rows = _rows(found, kw)
    best = problem.best(rows)
    if best.loss >= before:
        return SeparablePair(first, second, before)
    last = best.last.unflatten(1, (len(first), kw))
    flat, second = balanced(found.flatten(1)[None], last[None])
    return SeparablePair(flat[0].view(first.shape), second[0], best.loss)


def _descended(problem: Projection, first: Tensor, weights: Tensor, most: int) -> Tensor:
    """The first factor after some steps, of unit norm in each component.

    The steps start from vectors whose norms are the weights of their components, because the
    curvature is then about equal in all of them.
    """
    (rank, c, kh), kw = first.shape, problem.a.shape[0] // first[0].numel()

    def left_over(at: Tensor) -> Value:
        found = problem.exact(_rows(at.view(rank, c, kh), kw))
        slope = found.slope.view(rank, kw, c, kh, kw).diagonal(dim1=1, dim2=4).sum(-1)
        return found.left, slope.flatten()

    flat = first.flatten(1)
    norms = flat.norm(dim=1) * weights
    norms = (norms / norms.mean().clamp_min(1e-300)).clamp_min(_FAINTEST)
    at = descended(left_over, (normalize(flat) * norms[:, None]).flatten(), most, _SETTLED)
    return normalize(at.view(rank, -1)).view(first.shape)


def _rows(first: Tensor, kw: int) -> Float64[Tensor, "basis in"]:
    """What the second factor combines: the first at each offset along the row, (rank · kw, in)."""
    rank, c, kh = first.shape
    rows = first.new_zeros(rank, kw, c, kh, kw)
    for offset in range(kw):
        rows[:, offset, :, :, offset] = first
    return rows.reshape(rank * kw, -1)

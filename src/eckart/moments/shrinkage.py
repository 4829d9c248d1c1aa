"""Moments that are less noisy: shrunk towards their diagonals, as far as the data say.

With few examples, the off-diagonal entries of a moment are mostly noise, and low-rank factors fit
it. Of all ``(1 - ρ) S + ρ diag(S)``, the one nearest to the moment of all data in mean square has

    ρ = Σ var(s_ij) / Σ E[s_ij²]     over i ≠ j

where the variance is that of the mean over batches. The diagonal, and so the trace, stays. Rows
that were taken jointly have a better target than their diagonal: the moment of the same rows taken
one by one, whose weight follows from the same formula.

Source: Ledoit & Wolf 2004, "A well-conditioned estimator for large-dimensional covariance
    matrices"; Schäfer & Strimmer 2005, "A shrinkage approach to large-scale covariance matrix
    estimation", target D.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from eckart.moments.file_format import scatter_key
from eckart.moments.record import Moments
from eckart.moments.sums import trace
from eckart.records.shrinkage import Shrinkage

_Variance = tuple[float, float]  # of all entries together, and of those on the diagonal


def shrinkage_of(moments: Moments, layer: str) -> Shrinkage | None:
    """How far the data say that a layer's moments should be shrunk.

    None if they do not say: there is one batch only, or the moments are of an older version.

    Cost: O(entries of the moments).
    """
    key = moments.specs[layer].input
    of_a = _variance(moments, "gram", key, moments.grams[key], moments.rows[key])
    of_g = _variance_of_g(moments, layer)
    if of_a is None or of_g is None:
        return None
    single = 0.0
    if layer in moments.joint_grams:
        joint = moments.joint_grams[layer]
        of_joint = _variance(moments, "joint", layer, joint, moments.outputs)
        distance = joint / moments.outputs - _single_rows(moments, layer)
        single = 0.0 if of_joint is None else _share(of_joint[0], float(distance.square().sum()))
    g = 0.0 if moments.g_scale(layer) is not None else _intensity(_raw_g(moments, layer), of_g)
    return Shrinkage(_intensity(moments.a(layer), of_a), g, single)


def shrunk_a(moments: Moments, layer: str, shrinkage: Shrinkage) -> Tensor:
    """``Moments.loss_a``, shrunk; shape (groups, in, in)."""
    found = moments.loss_a(layer)
    if layer in moments.joint_grams:
        found = found.lerp(moments.a(layer), shrinkage.single)
    return towards_diagonal(found, shrinkage.a)


def shrunk_g(moments: Moments, layer: str, shrinkage: Shrinkage) -> Tensor:
    """``Moments.g``, shrunk; shape (groups, out, out)."""
    return towards_diagonal(moments.g(layer), shrinkage.g)


def towards_diagonal(moment: Tensor, weight: float) -> Tensor:
    """``(1 - weight) · moment + weight · diag(moment)``, in new memory.

    Example:
        >>> import torch
        >>> towards_diagonal(torch.tensor([[4.0, 2.0], [2.0, 1.0]]), 0.5).tolist()
        [[4.0, 1.0], [1.0, 1.0]]
    """
    found = moment * (1 - weight)
    found.diagonal(dim1=-2, dim2=-1).copy_(moment.diagonal(dim1=-2, dim2=-1))
    return found


def _variance(moments: Moments, kind: str, key: str, total: Tensor, count: int) -> _Variance | None:
    scatter = moments.scatters.get(scatter_key(kind, key))
    return None if scatter is None else scatter.variance(total, count)


def _variance_of_g(moments: Moments, layer: str) -> _Variance | None:
    """Of the sum over outputs: at most what they add up to if their errors agree."""
    of: list[_Variance | None] = [
        _variance(moments, "output", key, moments.output_grams[key], moments.outputs)
        for key in moments.output_keys(layer).values()
    ]
    known = [each for each in of if each is not None]
    if len(known) < len(of):
        return None
    scales = [moments.scales.get(path, 1.0) for path in moments.output_keys(layer)]
    whole, diagonal = (
        sum(scale * sqrt(each[part]) for scale, each in zip(scales, known, strict=True)) ** 2
        for part in (0, 1)
    )
    return whole, diagonal


def _raw_g(moments: Moments, layer: str) -> Tensor:
    """``G`` in the scale of its sums."""
    found = moments.g(layer)
    return found * trace(moments.a(layer)) if layer in moments.joint_grams else found


def _single_rows(moments: Moments, layer: str) -> Tensor:
    """The moment of single rows, with the trace of the joint one."""
    single, joint = moments.a(layer), moments.joint_grams[layer] / moments.outputs
    own = trace(single)
    return single * torch.where(own > 0, trace(joint) / own, 1.0)


def _intensity(moment: Tensor, variance: _Variance) -> float:
    """The weight of the diagonal, for all groups together."""
    own = moment.diagonal(dim1=-2, dim2=-1)
    beside = float(torch.linalg.vector_norm(moment) ** 2 - torch.linalg.vector_norm(own) ** 2)
    return _share(variance[0] - variance[1], beside)


def _share(noise: float, size: float) -> float:
    """Noise as a share of a size that contains it."""
    return min(max(noise, 0.0) / size, 1.0) if size > 0 else 0.0

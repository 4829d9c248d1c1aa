"""A convolution kernel as a sum of products of vectors, one vector for each axis (CP).

Once the vectors over channels and positions are given, the rest is a least-squares problem. The
objective therefore depends on these vectors only, see ``projection``. It uses the full ``A`` and
``G``. Its steps are products of matrices; those of a path are in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import normalize

from eckart.linalg.balance import balanced
from eckart.linalg.channel_subspace import ChannelSubspace, channel_subspace
from eckart.linalg.descent import Value, descended
from eckart.linalg.projection import Objective, Projection, affordable
from eckart.linalg.whitening import factor

_FIRST, _NEXT = 26, 13  # steps at the largest rank of a path, and at each of the others
_SUBSPACE = 0.75  # of the channels; walks with lower ranks are among so many directions
_SEARCHED, _SETTLED = 100, 1e-5  # steps where one rank is refined
_SPARE = 1.5  # the start of a path has this many times the components of its largest rank
_FAINTEST = 1e-3  # a component's weight relative to the mean, in the scale of its vectors


@dataclass(frozen=True)
class CanonicalFactors:
    """``W[o, c, k] ≈ Σᵣ last[o, r] middle[r, k] first[r, c]``.

    Attributes:
        first: shape (rank, c).
        middle: shape (rank, k).
        last: shape (out, rank).
        loss: predicted loss ``½ tr(G ΔW A ΔWᵀ)``.
    """

    first: Float64[Tensor, "rank c"]
    middle: Float64[Tensor, "rank k"]
    last: Float64[Tensor, "out rank"]
    loss: float


@dataclass(frozen=True)
class _Vectors:
    """The vectors of some components, over channels and over positions."""

    first: Float[Tensor, "rank c"]
    middle: Float[Tensor, "rank k"]

    @property
    def rows(self) -> Float[Tensor, "rank in"]:
        """The Khatri-Rao product, shape (rank, c · k)."""
        return (self.first[:, :, None] * self.middle[:, None, :]).flatten(1)

    def weighted(self, weights: Tensor) -> _Vectors:
        """Both vectors of each component with its weight as their norm.

        The objective does not depend on the norms, but steps are relative to them. With these, the
        curvature is about equal in all components.
        """
        norms = (weights / weights.mean().clamp_min(1e-300)).clamp_min(_FAINTEST)[:, None]
        return _Vectors(normalize(self.first) * norms, normalize(self.middle) * norms)

    def kept(self, objective: Objective, rank: int) -> _Vectors:
        """The components that explain most, each with its weight as the norm."""
        alike = _Vectors(normalize(self.first), normalize(self.middle))
        at, weights = objective.kept(alike.rows, rank)
        return _Vectors(alike.first[at], alike.middle[at]).weighted(weights)

    def descended(self, objective: Objective, most: int, settled: float = 0.0) -> _Vectors:
        """The vectors after some steps of descent."""
        rank, c = self.first.shape
        start = torch.cat([self.first.flatten(), self.middle.flatten()])

        def split(at: Tensor) -> _Vectors:
            return _Vectors(at[: rank * c].view(rank, c), at[rank * c :].view(rank, -1))

        def left_over(at: Tensor) -> Value:
            vectors = split(at)
            found = objective(vectors.rows)
            slope = found.slope.view(rank, c, -1)
            first = (slope @ vectors.middle[:, :, None]).flatten()
            middle = (vectors.first[:, None, :] @ slope).flatten()
            return found.left, torch.cat([first, middle])

        return split(descended(left_over, start, most, settled))

    def in_dtype(self, dtype: torch.dtype) -> _Vectors:
        """The vectors in another precision."""
        return _Vectors(self.first.to(dtype), self.middle.to(dtype))


@torch.no_grad()
def canonical_path(
    kernel: Float64[Tensor, "out c k"],
    a: Float64[Tensor, "in in"],
    g: Float64[Tensor, "out out"],
    ranks: Sequence[int],
    seen: Float64[Tensor, "out in"] | None = None,
) -> list[CanonicalFactors]:
    """Factors of several ranks in a few steps each, from the largest rank down.

    The start is made of the leading rows of the best low-rank weight, each cut into products of
    vectors. From one rank to the next, the components that explain least are dropped.
    ``canonical_refined`` takes the losses down further: by a few per cent at low ranks, by a third
    at ranks near full.

    Where the largest rank is well below the number of channels, the walk is among as many
    directions of the channels as this rank, which costs some per cent of the loss.

    Args:
        kernel: weight, with its positions as one axis.
        a: damped second moment of the patches, in = c · k ordered (c, k).
        g: damped second moment of the output gradients.
        ranks: numbers of components.
        seen: ``W A``, if it is known.

    Returns:
        Factors by ascending rank.

    Cost: about 15 times O(rank·in² + rank·out·in + rank³) in float32 per rank, where in is at most
        the largest rank times k; and O(out·in² + rank·in²) once.

    Source: Lebedev et al. 2015 (1412.6553) for the use.
    """
    few = max(ranks)
    if few > _SUBSPACE * kernel.shape[1]:
        return _walked(kernel, a, g, ranks)
    inner = channel_subspace(kernel, a, g, few, seen)
    return [_lifted(f, inner) for f in _walked(inner.kernel, inner.a, g, ranks)]


def _walked(kernel: Tensor, a: Tensor, g: Tensor, ranks: Sequence[int]) -> list[CanonicalFactors]:
    """Factors by ascending rank, from the largest rank down."""
    problem = Projection(kernel.flatten(1), a, g)
    vectors = _cut(kernel, a, g, int(_SPARE * max(ranks)))
    found = list[CanonicalFactors]()
    for rank in sorted(set(ranks), reverse=True):
        vectors = vectors.in_dtype(torch.float64).kept(problem.exact, rank)
        steps = _NEXT if found else _FIRST
        vectors = vectors.in_dtype(torch.float32).descended(problem.quick, steps)
        found.append(_completed(problem, vectors.in_dtype(torch.float64)))
    return found[::-1]


@torch.no_grad()
def canonical_refined(
    kernel: Float64[Tensor, "out c k"],
    a: Float64[Tensor, "in in"],
    g: Float64[Tensor, "out out"],
    factors: CanonicalFactors,
    most: int = _SEARCHED,
) -> CanonicalFactors:
    """The factors after more steps in float64, or the same ones if that does not lower the loss.

    Cost: at most ``most`` times O(rank·in² + rank·out·in + rank³); fewer steps for wide layers, and
        none where a step takes a third of a second.
    """
    most = affordable(len(factors.first), a.shape[0], most)
    if most == 0:
        return factors
    problem = Projection(kernel.flatten(1), a, g)
    weights = factors.last.norm(dim=0) * factors.first.norm(dim=1) * factors.middle.norm(dim=1)
    vectors = _Vectors(factors.first, factors.middle).weighted(weights)
    found = _completed(problem, vectors.descended(problem.exact, most, _SETTLED))
    return found if found.loss < factors.loss else factors


def canonical_factors(
    kernel: Float64[Tensor, "out c k"],
    a: Float64[Tensor, "in in"],
    g: Float64[Tensor, "out out"],
    rank: int,
) -> CanonicalFactors:
    """Minimise ``½ tr(G ΔW A ΔWᵀ)`` for one rank; arguments and cost as for ``canonical_path``."""
    (found,) = canonical_path(kernel, a, g, [rank])
    return canonical_refined(kernel, a, g, found)


def _cut(kernel: Tensor, a: Tensor, g: Tensor, most: int) -> _Vectors:
    """The leading products of vectors in the rows of the best low-rank weight."""
    lifted = factor(g, check=False).mT @ kernel.flatten(1)
    gram = lifted @ a @ lifted.mT
    _, vectors = torch.linalg.eigh((gram + gram.mT) / 2)
    rows = (vectors.mT @ lifted).unflatten(1, kernel.shape[1:])
    over_channels, sizes, over_positions = torch.linalg.svd(rows, full_matrices=False)
    largest = sizes.flatten().argsort(descending=True, stable=True)[:most]
    row, term = largest // sizes.shape[1], largest % sizes.shape[1]
    return _Vectors(over_channels[row, :, term], over_positions[row, term])


def _completed(problem: Projection, vectors: _Vectors) -> CanonicalFactors:
    """Unit vectors with the best last factor; the scale is split between the first and the last."""
    first, middle = normalize(vectors.first), normalize(vectors.middle)
    best = problem.best(_Vectors(first, middle).rows)
    first, last = (part[0] for part in balanced(first[None], best.last[None]))
    return CanonicalFactors(first, middle, last, best.loss)


def _lifted(factors: CanonicalFactors, inner: ChannelSubspace) -> CanonicalFactors:
    """The factors of a subspace as those of the kernel."""
    first, last = balanced((factors.first @ inner.basis)[None], factors.last[None])
    return CanonicalFactors(first[0], factors.middle, last[0], factors.loss + inner.left)

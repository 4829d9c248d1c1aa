"""A convolution kernel as kh×1 followed by 1×kw, for every number of channels in between.

The kernel is regrouped as ``T`` of shape (in·kh, kw·out) and weighted by two roots: that of ``G``
on the outputs, and that of the second moment ``H`` across a row of the patch. ``V = F Fᵀ`` is the
marginal second moment of vertical patches. The first factor is ``F⁻ᵀ`` times the leading left
singular vectors of ``Fᵀ T``. It is orthonormal in ``V``, and optimal for ``A = V ⊗ H``. The second
factor is a least-squares fit under the full ``A``. One Cholesky factor gives the losses of all
nested sizes, exact for the factors that are built.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from eckart.errors import InputError, NonFiniteError
from eckart.linalg.admissible import admissible_problem
from eckart.linalg.balance import balanced
from eckart.linalg.whitening import factor, roots, solved_transposed

_WIDE = 768  # directions from which on they are found in float32
_TINY = 1e-300
Kernel = Float64[Tensor, "groups out c kh kw"]
Blocks = Float64[Tensor, "groups c kh kw c kh kw"]


@dataclass(frozen=True)
class SeparableFactors:
    """``W[:, o, c, y, x] ≈ Σᵣ second[:, o, r, x] first[:, r, c, y]`` for every rank, per group.

    Attributes:
        first: shape (groups, rank, c, kh).
        targets: lifted outputs projected on the orthonormal basis, (groups, out, rank · kw).
        triangle: Cholesky factor of the basis' second moment, (groups, rank · kw, rank · kw).
        unlift: takes weighted outputs back to outputs, (groups, out, out).
        losses: shape (rank + 1,), predicted loss of each rank from 0, summed over groups.
    """

    first: Float64[Tensor, "groups rank c kh"]
    targets: Float64[Tensor, "groups out basis"]
    triangle: Float64[Tensor, "groups basis basis"]
    unlift: Float64[Tensor, "groups out out"]
    losses: Float64[Tensor, " ranks"]

    def balanced(self, rank: int) -> tuple[Tensor, Tensor]:
        """First and second factor of one rank, with each component's scale split between them.

        Returns:
            Shapes (groups, rank, c, kh) and (groups, out, rank, kw).
        """
        second = (self.unlift @ self.lifted_second(rank)).unflatten(-1, (rank, -1))
        first, second = balanced(self.first[:, :rank].flatten(2), second)
        return first.unflatten(2, self.first.shape[2:]), second

    def lifted_second(self, rank: int) -> Float64[Tensor, "groups out basis"]:
        """The second factor of one rank, in the output coordinates in which ``G`` is identity."""
        width = self.targets.shape[-1] // self.first.shape[1] * rank
        triangle = self.triangle[:, :width, :width]
        solved: Tensor = torch.linalg.solve_triangular(
            triangle, self.targets[..., :width], upper=False, left=False
        )
        return solved


def separable_factors(
    kernel: Kernel,
    a: Float64[Tensor, "groups in in"],
    g: Float64[Tensor, "groups out out"],
    max_rank: int,
    *,
    check: bool = True,
) -> SeparableFactors:
    """Nested factors kh×1, then 1×kw, under the weights ``A`` and ``G``.

    Args:
        kernel: weight per group, shape (groups, out, c, kh, kw).
        a: damped second moment of the patches, in = c · kh · kw ordered (c, kh, kw).
        g: damped second moment of the output gradients.
        max_rank: the largest rank that will be asked for.
        check: whether to check the input; False means that the caller has.

    Cost: O(out in² + kw² rank (c kh)² + (c kh)³ + (kw rank)³) per group; the decomposition is on
        the smaller of c·kh and kw·out.
    """
    if max_rank < 1:
        raise InputError(f"max_rank={max_rank}: expected at least 1")
    if check:
        kernel, a, g = admissible_problem(kernel, a, g)
    blocks = a.reshape(len(a), *kernel.shape[2:], *kernel.shape[2:])
    seen = (kernel.flatten(2) @ a).reshape(kernel.shape)
    return factors_of_blocks(kernel, blocks, seen, factor(g, check=False), max_rank)


def factors_of_blocks(
    kernel: Kernel,
    blocks: Blocks,
    seen: Kernel,
    lift: Float64[Tensor, "groups out out"],
    max_rank: int,
) -> SeparableFactors:
    """The same, with ``A`` by its axes, ``W A``, and ``F`` of ``G = F Fᵀ``.

    The kernel, ``A`` and ``W A`` may be views in another order.
    """
    kw = kernel.shape[-1]
    lifted, crossed = lift.mT @ kernel.flatten(2), lift.mT @ seen.flatten(2)
    first = _first_factor(lifted.reshape(kernel.shape), blocks, max_rank)
    gram = _basis_gram(first, blocks)
    triangle, rank = _nested_cholesky(gram, kw)
    first = first[:, :rank]
    moment = torch.einsum("gocyx,grcy->gorx", crossed.reshape(kernel.shape), first).flatten(2)
    targets = torch.linalg.solve_triangular(triangle.mT, moment, upper=True, left=False)
    gains = targets.square().sum((0, 1)).unflatten(0, (-1, kw)).sum(1).cumsum(0)
    total = (crossed * lifted).sum()
    losses = 0.5 * (total - torch.cat([gains.new_zeros(1), gains])).clamp_min(0)
    unlift = solved_transposed(lift, torch.eye(lift.shape[-1]).to(lift).expand_as(lift))
    return SeparableFactors(first, targets, triangle, unlift, losses)


def _basis_gram(first: Tensor, a: Blocks) -> Float64[Tensor, "groups basis basis"]:
    """Second moment of the first factor's outputs, with entries ordered (rank, kx)."""
    groups, rank, c, kh = first.shape
    kw, rows = a.shape[3], first.flatten(2)
    gram = first.new_empty(groups, rank, kw, rank, kw)
    for left in range(kw):
        for right in range(left, kw):
            block = a[:, :, :, left, :, :, right].reshape(groups, c * kh, c * kh)
            gram[:, :, left, :, right] = rows @ block @ rows.mT
            gram[:, :, right, :, left] = gram[:, :, left, :, right].mT.clone()
    return gram.reshape(groups, rank * kw, rank * kw)


def _nested_cholesky(gram: Tensor, kw: int) -> tuple[Float64[Tensor, "groups basis basis"], int]:
    """The Cholesky factor of the largest rank for which it exists; smaller ranks share it."""
    size = gram.shape[-1]
    while True:
        lower, info = torch.linalg.cholesky_ex(gram[:, :size, :size])
        if not info.any():
            return lower, size // kw
        size = (int(info[info > 0].min()) - 1) // kw * kw
        if size == 0:
            raise NonFiniteError("a second moment is not positive definite; raise the damping")


def _first_factor(
    lifted: Kernel, blocks: Blocks, max_rank: int
) -> Float64[Tensor, "groups rank c kh"]:
    """Leading directions, as if ``A`` were the Kronecker product of its two marginals."""
    groups, out, c, kh, kw = lifted.shape
    vertical = blocks.diagonal(dim1=3, dim2=6).mean(-1).reshape(groups, c * kh, c * kh)
    across = roots(torch.einsum("gcyxcyz->gxz", blocks), check=False)[0]
    smoothed = torch.einsum("gocyx,gxz->gcyzo", lifted, across)
    regrouped = smoothed.reshape(groups, c * kh, kw * out)
    root = factor(vertical, check=False)  # orthonormal in the metric of V
    inner = c * kh <= kw * out
    spread = root.mT @ regrouped
    if min(c * kh, kw * out) >= _WIDE:
        spread = _quick(spread)
    gram = spread @ spread.mT if inner else spread.mT @ spread
    values, vectors = torch.linalg.eigh((gram + gram.mT) / 2)
    values, vectors = values.flip(-1), vectors.flip(-1)
    rank = min(max_rank, c * kh, kw * out, _rank(values.double(), c * kh * kw))
    spanned = vectors[..., :rank]
    if not inner:
        spanned, _ = torch.linalg.qr(spread @ spanned)  # completes groups of lower rank
    first = solved_transposed(root, spanned.double())
    return first.mT.reshape(groups, rank, c, kh)


def _quick(matrix: Tensor) -> Float[Tensor, "groups rows columns"]:
    """A multiple of a matrix in float32, whose eigenvectors take half of the time.

    Directions that hold less than 1e-7 of the first one's energy are mixed then. What each rank
    loses is exact for the directions that it has.
    """
    return (matrix / matrix.abs().amax((-2, -1), keepdim=True).clamp_min(_TINY)).float()


def _rank(values: Tensor, size: int) -> int:
    """The largest numerical rank of all groups, at least one."""
    floor = values[:, :1] * size * torch.finfo(values.dtype).eps
    return max(1, int((values > floor).sum(-1).max()))

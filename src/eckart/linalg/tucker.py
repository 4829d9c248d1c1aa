"""Tucker-2 of a convolution kernel: 1×1 to fewer inputs, k×k to fewer outputs, 1×1 back.

There are two ways to get one. ``tucker2`` is the plain decomposition for one pair of ranks, found
by alternation. ``NestedTucker`` is weighted by ``A`` and ``G`` and knows every pair of ranks: it
takes the inputs from nested factors (1×1, then k×k) and finds the best outputs and core for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from eckart.errors import InputError
from eckart.linalg.admissible import admissible, check_count, unit_scale
from eckart.linalg.balance import balanced
from eckart.linalg.separable import SeparableFactors


@dataclass(frozen=True)
class Tucker2:
    """``W[o, c, k] ≈ Σ left[o, s] core[s, r, k] right[r, c]``.

    Attributes:
        left: orthonormal columns, shape (out, outputs).
        core: shape (outputs, inputs, *k).
        right: orthonormal rows, shape (inputs, c).
        error: Frobenius norm of the difference, divided by that of the kernel.
    """

    left: Float[Tensor, "out outputs"]
    core: Float[Tensor, "outputs inputs *k"]
    right: Float[Tensor, "inputs c"]
    error: float


@torch.no_grad()
def tucker2(
    kernel: Tensor, outputs: int, inputs: int, *, sweeps: int = 20, tolerance: float = 1e-4
) -> Tucker2:
    """Minimise ``‖W − left · core · right‖²_F`` over the two channel axes of a kernel.

    It starts from the singular vectors of the inputs' unfolding, whose error is at most √2 times
    the least, and alternates: the outputs are the leading eigenvectors for the current inputs, and
    the other way round. The Gram matrices are no larger than the channels. Their eigenvectors are
    computed in the kernel's precision, and the last ones in float64, which makes up for the
    rounding of the others.

    Args:
        kernel: shape (out, c, *k), real floating point.
        outputs: number of channels to keep of ``out``.
        inputs: number of channels to keep of ``c``.
        sweeps: most alternations between the start and the last one.
        tolerance: stop when a sweep lowers the error, relative to the kernel's norm, by no more.

    Returns:
        Factors in the kernel's dtype, detached.

    Raises:
        InputError: the kernel has fewer than two axes, a rank is too large, or the tensor does not
            hold real numbers. NonFiniteError for NaN and infinity.

    Cost: O(sweeps·(out·c·k·(outputs + inputs) + out³ + c³)).

    Source: De Lathauwer, De Moor and Vandewalle 2000, "On the best rank-1 and rank-(R1, …, RN)
        approximation", algorithm 4.2; Kim et al. 2016 (1511.06530), section 3.1.

    Example:
        >>> found = tucker2(torch.ones(4, 3, 3, 3), 1, 1)
        >>> found.core.shape, round(found.error, 6)
        (torch.Size([1, 1, 3, 3]), 0.0)
    """
    if kernel.ndim < 2:
        raise InputError(f"kernel has shape {tuple(kernel.shape)}; expected (out, c, ...)")
    W = admissible(kernel, "kernel").reshape(*kernel.shape[:2], -1)
    for name, width, most in zip(("outputs", "inputs"), (outputs, inputs), W.shape, strict=False):
        if not 1 <= width <= most:
            raise InputError(f"{name}={width}: the kernel has {most}; keep 1 to {most} of them")
    check_count(sweeps, "sweeps")
    scale = unit_scale(W)
    W = W / scale
    left = _alternated(W, outputs, inputs, sweeps, tolerance).double()
    W = W.double()
    right, _ = _leading(_project(W.transpose(0, 1), left), inputs)
    left, kept = _leading(_project(W, right), outputs)
    core = torch.einsum("os,ork->srk", left, _project(W, right)) * scale
    core = core.reshape(outputs, inputs, *kernel.shape[2:])
    left, core, right = (part.to(kernel.dtype) for part in (left, core, right.mT))
    return Tucker2(left, core, right, _error(W.square().sum(), kept))


def _alternated(
    W: Float[Tensor, "out c k"], outputs: int, inputs: int, sweeps: int, tolerance: float
) -> Float[Tensor, "out outputs"]:
    """The outputs after the sweeps, in the precision of ``W``."""
    total = W.square().sum()
    left, kept = _leading(_project(W, _leading(W.transpose(0, 1), inputs)[0]), outputs)
    for _ in range(sweeps):
        right, _ = _leading(_project(W.transpose(0, 1), left), inputs)
        before, (left, kept) = kept, _leading(_project(W, right), outputs)
        if _error(total, before) - _error(total, kept) <= tolerance:
            break
    return left


def _project(W: Float[Tensor, "n c k"], basis: Tensor) -> Float[Tensor, "n rank k"]:
    """Project the middle axis on an orthonormal basis."""
    return torch.einsum("nck,cr->nrk", W, basis)


def _leading(tensor: Float[Tensor, "n m k"], count: int) -> tuple[Tensor, Tensor]:
    """Leading singular vectors of the first unfolding, and the energy they hold."""
    rows = tensor.flatten(1)
    values, vectors = torch.linalg.eigh(rows @ rows.mT)
    return vectors.flip(-1)[:, :count], values[-count:].sum()


def _error(total: Tensor, kept: Tensor) -> float:
    """Error relative to the norm of the whole; zero for a zero kernel."""
    return float((1 - kept / total).clamp_min(0).sqrt()) if total > 0 else 0.0


@dataclass(frozen=True)
class NestedTucker:
    """Weighted Tucker-2 of every pair of ranks, from nested factors (1×1, then k×k).

    With ``r`` inputs given, fitting ``k×k`` and ``1×1`` behind them is a reduced-rank least-squares
    problem under ``A`` and ``G``. Its optimum is the projection of the unrestricted fit on its
    leading ``s`` directions. Only the choice of the inputs is approximate.

    Attributes:
        factors: factors of the kernel with its positions as one axis, (groups, out, c, 1, k).
        inputs: ranks of the inputs.
        gains: energy of the lifted outputs that the fit behind each rank explains, by direction,
            descending, shape (ranks, groups, out).
        directions: directions of the outputs, as columns, shape (ranks, groups, out, out).

    Source: Kim et al. 2016 (1511.06530) for the shape; Izenman 1975, "Reduced-rank regression for
        the multivariate linear model", for the fit.
    """

    factors: SeparableFactors
    inputs: tuple[int, ...]
    gains: Float64[Tensor, "ranks groups out"]
    directions: Float64[Tensor, "ranks groups out out"]

    @classmethod
    def behind(cls, factors: SeparableFactors, inputs: Iterable[int]) -> NestedTucker:
        """The fits behind nested factors, for every given rank of the inputs that they have.

        Cost: O(out³) for each rank, and once O(out² basis).
        """
        most = factors.first.shape[1]
        ranks = tuple(rank for rank in inputs if rank <= most)
        groups, out = factors.unlift.shape[:2]
        gains = factors.unlift.new_zeros(len(ranks), groups, out)
        directions = factors.unlift.new_zeros(len(ranks), groups, out, out)
        for at, rank in enumerate(ranks):
            gains[at], directions[at] = _directions(factors, rank)
        return cls(factors, ranks, gains, directions)

    def losses(self) -> dict[int, Float64[Tensor, " outputs"]]:
        """For each rank of the inputs, the predicted loss of every output rank from 0."""
        found = {}
        for rank, gains in zip(self.inputs, self.gains.sum(1), strict=True):
            tail = torch.cat([gains.flip(0).cumsum(0).flip(0), gains.new_zeros(1)])
            found[rank] = self.factors.losses[rank] + 0.5 * tail
        return found

    def built(self, outputs: int, inputs: int) -> tuple[Tensor, Tensor, Tensor]:
        """The three kernels of one pair of ranks, with the scale of each component split evenly.

        The outputs come first: until they are split, the middle kernel is in the unit of ``G``,
        which can be so small that half precision has no numbers for what it would leave the others.

        Returns:
            Shapes (groups, inputs, c), (groups, outputs, inputs, k), (groups, out, outputs).
        """
        vectors = self.directions[self.inputs.index(inputs)][..., :outputs]
        core = (vectors.mT @ self.factors.lifted_second(inputs)).unflatten(-1, (inputs, -1))
        inner, left = balanced(core.flatten(2), self.factors.unlift @ vectors)
        right, core = balanced(self.factors.first[:, :inputs].flatten(2), inner.reshape(core.shape))
        return right, core, left


def _directions(factors: SeparableFactors, inputs: int) -> tuple[Tensor, Tensor]:
    """Energy of the lifted outputs that the fit explains, by direction, descending."""
    width = factors.targets.shape[-1] // factors.first.shape[1] * inputs
    explained = factors.targets[..., :width]
    values, vectors = torch.linalg.eigh(explained @ explained.mT)
    return values.flip(-1).clamp_min(0), vectors.flip(-1)

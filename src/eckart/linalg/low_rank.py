"""Nested low-rank factors of a matrix: one decomposition gives every rank and its loss.

The loss is ``loss(M) = ½ tr(G (W - M) A (W - M)ᵀ)``, with ``A`` over inputs and ``G`` over outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from eckart.linalg.admissible import admissible_problem, admissible_stack
from eckart.linalg.balance import balanced
from eckart.linalg.whitening import factor, solved_transposed

Matrix = Float64[Tensor, "groups out in"]
Inputs = Float64[Tensor, "groups in in"]
Outputs = Float64[Tensor, "groups out out"]


@dataclass(frozen=True)
class NestedFactors:
    """``W ≈ left[:, :, :r] @ right[:, :r]`` for every rank ``r``, per group.

    Attributes:
        left: shape (groups, out, rank).
        right: shape (groups, rank, in).
        losses: shape (rank + 1,), predicted loss of each rank from 0 to full, summed over groups.
    """

    left: Float64[Tensor, "groups out rank"]
    right: Float64[Tensor, "groups rank in"]
    losses: Float64[Tensor, " ranks"]

    def balanced(self, rank: int) -> tuple[Tensor, Tensor]:
        """The factors of one rank, with each component's scale split evenly between them."""
        right, left = balanced(self.right[:, :rank], self.left[..., :rank])
        return left, right

    def with_core(self, rank: int) -> tuple[Tensor, Tensor, Tensor]:
        """``U, core, V`` of one rank, with each component's whole scale on the core's diagonal.

        A factor of length zero counts as one there, so that the component can still learn.
        """
        left, right = self.left[..., :rank], self.right[:, :rank]
        over, under = (torch.where(n > 0, n, 1.0) for n in (left.norm(dim=1), right.norm(dim=2)))
        return left / over[:, None, :], torch.diag_embed(over * under), right / under[:, :, None]


def output_projection(
    weight: Matrix,
    a: Inputs,
    g: Outputs | None = None,
    *,
    seen: Matrix | None = None,
    check: bool = True,
) -> NestedFactors:
    """The optimal factors under ``A`` and ``G``: ``M = G^-½ Uᵣ Uᵣᵀ G^½ W``.

    The columns of ``U`` are the leading eigenvectors of ``G^½ W A Wᵀ G^½``. ``A`` is never
    inverted, and full rank gives ``W`` back. Without ``g``, ``G = I``. Who has ``W A`` gives it as
    ``seen``. With ``check=False`` the caller has checked the input.

    Source: Eckart and Young 1936 in the metric of K-FAC (Martens and Grosse 2015, 1503.05671).
    Cost: O(out·in² + out²·in + out³).
    """
    if check:
        white = torch.eye(weight.shape[1], device=weight.device).expand(len(weight), -1, -1)
        weight, a, given = admissible_problem(weight, a, white if g is None else g)
        g = None if g is None else given
    if g is None:
        values, vectors = _principal(weight, a, seen)
        return NestedFactors(vectors, vectors.mT @ weight, _tails(values))
    lift = factor(g, check=False)
    lifted = lift.mT @ weight
    values, vectors = _principal(lifted, a, None if seen is None else lift.mT @ seen)
    left = solved_transposed(lift, vectors)
    return NestedFactors(left, vectors.mT @ lifted, _tails(values))


def projection_losses(gram: Float64[Tensor, "groups n n"]) -> Float64[Tensor, " ranks"]:
    """The losses of ``output_projection`` without its factors, from 0 to full rank.

    With ``G = F Fᵀ`` and ``A = H Hᵀ``, the gram is ``Fᵀ W A Wᵀ F`` or ``Hᵀ Wᵀ G W H``, of which
    the smaller one has full rank.

    Cost: eigenvalues alone take between a third and a quarter of the time of the vectors.
    """
    values = torch.linalg.eigvalsh((gram + gram.mT) / 2).flip(-1)
    return _tails(values.clamp_min(0))


def truncated_svd(
    weight: Matrix, a: Inputs | None = None, g: Outputs | None = None, *, check: bool = True
) -> NestedFactors:
    """The plain singular value decomposition, with its losses measured under ``A`` and ``G``.

    Dropping a set of components costs ``½ Σ σᵢσⱼ (uᵢᵀGuⱼ)(vᵢᵀAvⱼ)`` over all its pairs i, j: for
    every rank a tail sum of one matrix. Without ``a`` and ``g`` both are ``I``, and the loss is
    half the sum of the dropped squares.

    The vectors come from the Gram matrix on the smaller side, and the other factor is the product
    of ``W`` with them. So full rank gives ``W`` back, and the losses are exact for the factors that
    are built. Components below 10⁻⁸ of the largest may mix, which costs less than the rounding of a
    float32 weight. With ``check=False`` the caller has checked the input.

    Cost: O(out·in·min(out, in) + out³ + in³). The decomposition alone takes between three quarters
        (1000×1000) and a seventh (512×4608) of the time of a direct one.
    """
    if check and a is not None and g is not None:
        weight, a, g = admissible_problem(weight, a, g)
    elif check:
        weight = admissible_stack(weight, "weight")
    out, inputs = weight.shape[1:]
    if out <= inputs:
        left = _leading(weight @ weight.mT, out)[1]
        right = left.mT @ weight
    else:
        vectors = _leading(weight.mT @ weight, inputs)[1]
        left, right = weight @ vectors, vectors.mT
    if a is None or g is None:
        energy = (left.norm(dim=1) * right.norm(dim=2)).square()
        return NestedFactors(left, right, _tails(energy))
    return NestedFactors(left, right, nested_losses(left, right, a, g, check=False))


def nested_losses(
    left: Float64[Tensor, "groups out rank"],
    right: Float64[Tensor, "groups rank in"],
    a: Inputs,
    g: Outputs,
    *,
    check: bool = True,
) -> Float64[Tensor, " ranks"]:
    """Predicted loss of keeping the first r components, for every r from 0.

    With ``check=False`` the caller has checked the input.
    """
    if check:
        named = {"left": left, "right": right, "a": a, "g": g}
        left, right, a, g = (admissible_stack(values, name) for name, values in named.items())
    joint = (left.mT @ g @ left) * (right @ a @ right.mT)
    joint = joint.sum(0).flip(0, 1)
    corner = joint.cumsum(0).cumsum(1).diagonal().flip(0)  # sums of the lower right corners
    return 0.5 * torch.cat([corner, corner.new_zeros(1)]).clamp_min(0)


def _principal(weight: Matrix, a: Inputs, seen: Matrix | None) -> tuple[Tensor, Tensor]:
    """Leading eigenpairs of ``W A Wᵀ``, or of ``Fᵀ Wᵀ W F`` with ``A = F Fᵀ`` if it is smaller.

    Either way the vectors are orthonormal and span the columns of ``W F``, however small the values
    are.
    """
    if weight.shape[1] <= weight.shape[2]:
        seen = weight @ a if seen is None else seen
        return _leading(seen @ weight.mT, weight.shape[1])
    reduced = weight @ factor(a, check=False)
    values, vectors = _leading(reduced.mT @ reduced, weight.shape[2])
    return values, torch.linalg.qr(reduced @ vectors).Q


def _leading(symmetric: Float64[Tensor, "groups n n"], count: int) -> tuple[Tensor, Tensor]:
    """The largest eigenvalues, clamped at zero and descending, with their vectors."""
    values, vectors = torch.linalg.eigh((symmetric + symmetric.mT) / 2)
    return values.flip(-1)[:, :count].clamp_min(0), vectors.flip(-1)[..., :count]


def _tails(values: Float64[Tensor, "groups n"]) -> Float64[Tensor, " ranks"]:
    """Half the sum of the values from each rank on, over all groups."""
    total = values.sum(0)
    return 0.5 * torch.cat([total.flip(0).cumsum(0).flip(0), total.new_zeros(1)])

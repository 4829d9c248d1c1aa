"""Solve the weights of one layer, plain or a chain, by least squares on a quadratic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from eckart.layers import Factored, composed, merged_piece, piece_of
from eckart.linalg import damped, least_squares, reduced_rank_regression
from eckart.linalg.balance import balanced
from eckart.methods import regular
from eckart.records import Form
from eckart.stages.heal.refit.sums import Quadratic

Weights = list[Tensor]


@dataclass(frozen=True)
class Layer:
    """The shapes of a layer: a chain of pieces, and the matrix per group that they compose to.

    Attributes:
        form: the pieces.
        matrix_shape: (groups, out, in) of the composed matrix.
    """

    form: Form
    matrix_shape: tuple[int, int, int]

    @classmethod
    def of(cls, module: nn.Module) -> Layer:
        """The shapes of a plain layer or a chain."""
        form = module.form if isinstance(module, Factored) else Form((piece_of(module),))
        return cls(form, merged_piece(form).matrix_shape)

    def matrix(self, weights: Sequence[Tensor]) -> Float64[Tensor, "groups out in"]:
        """The matrix that a chain's weights compose to; gradients pass through."""
        return composed(weights, self.form).reshape(self.matrix_shape)

    @property
    def rank(self) -> int | None:
        """The rank, if the chain is two pieces that can be any matrix of that rank; else None."""
        first, *others = self.form.pieces
        idle = [piece.is_pointwise for piece in others]
        rank = first.outputs // first.groups
        return rank if idle == [True] and rank <= min(self.matrix_shape[1:]) else None

    @property
    def is_solved_exactly(self) -> bool:
        """Whether least squares over all weights at once has a closed form."""
        return self.form.is_plain or self.rank is not None


def solved(
    layer: Layer,
    start: Weights,
    quadratic: Quadratic,
    g: Float64[Tensor, "groups out out"],
) -> Weights:
    """Minimise ``½ E[(t − M x)ᵀ G (t − M x)] + ½ δ tr(G (M − M₀)(M − M₀)ᵀ)``.

    δ is what ``methods.regular`` adds to ``E[x xᵀ]``.

    The solution is exact for a plain layer (``C R⁻¹``) and for low rank. For any other chain only
    the last piece is solved, exactly, and the other pieces stay unchanged.

    Args:
        layer: the shapes of the layer.
        start: weights that ``M₀`` and the unchanged pieces are taken from.
        quadratic: means of inputs and targets, without a bias.
        g: metric on the targets, damped.
    """
    q = _ridged(quadratic, layer.matrix(start))
    if layer.form.is_plain:
        return [least_squares(q.cross, q.gram).reshape(start[0].shape)]
    if layer.rank is not None:
        left, right = reduced_rank_regression(q.cross, q.gram, g, layer.rank)
        return [part.reshape(w.shape) for part, w in zip(balanced(right, left), start, strict=True)]
    return _last_solved(layer, start, q)


def refined(
    layer: Layer,
    start: Weights,
    quadratic: Quadratic,
    g: Float64[Tensor, "groups out out"],
    steps: int,
) -> Weights:
    """Refine all pieces of a chain together by L-BFGS, then solve the last one exactly.

    Cost: O(steps · out · in²).
    """
    q = _ridged(quadratic, layer.matrix(start))
    weights = [weight.contiguous().clone().requires_grad_() for weight in start]
    optimiser = torch.optim.LBFGS(
        weights,
        max_iter=steps,
        tolerance_grad=0,
        tolerance_change=0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = q.loss(layer.matrix(weights), g)
        loss.backward()
        return loss.detach()

    with torch.enable_grad():
        optimiser.step(closure)
    return _last_solved(layer, [weight.detach() for weight in weights], q)


def _ridged(quadratic: Quadratic, towards: Tensor) -> Quadratic:
    """The quadratic plus ``½ δ ‖M − M₀‖²`` in the same metric, without the constant."""
    gram = regular(quadratic.gram)
    added = gram - (quadratic.gram + quadratic.gram.mT) / 2
    cross = quadratic.cross + towards @ added
    return Quadratic(gram, cross, quadratic.targets, quadratic.x, quadratic.t)


def _last_solved(layer: Layer, weights: Weights, q: Quadratic) -> Weights:
    """Solve the last piece by least squares on the outputs of the others; the metric drops out."""
    *first, last = weights
    groups, _, width = layer.form.pieces[-1].matrix_shape
    unit = torch.eye(width, dtype=last.dtype, device=last.device)
    unit = unit.reshape(width, *last.shape[1:]).repeat(groups, *[1] * (last.dim() - 1))
    basis = composed([*first, unit], layer.form).reshape(groups, width, -1)
    gram, cross = damped(basis @ q.gram @ basis.mT, 1e-10), q.cross @ basis.mT
    return [*first, least_squares(cross, gram).reshape(last.shape)]

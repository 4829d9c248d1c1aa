"""Second moments of a weight's gradients for single examples."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def gradient_grams(
    x: Float[Tensor, "examples rows in"], g: Float[Tensor, "examples rows out"]
) -> tuple[Float[Tensor, "in in"], Float[Tensor, "out out"]]:
    """``Σ Dᵀ D`` and ``Σ D Dᵀ`` with ``D = gᵀ x``, the gradient of ``W`` for one example.

    Args:
        x: inputs of a layer; a row of zeros adds nothing.
        g: gradients of its outputs.

    Returns:
        Both sums over the examples, in the dtype of the arguments.

    Cost: per example O(rows² (in + out) + rows (in² + out²)), or O(in · out · (rows + in + out))
        if that is less.

    Example:
        >>> import torch
        >>> x, g = torch.randn(5, 7, 3), torch.randn(5, 7, 2)
        >>> inner, outer = gradient_grams(x, g)
        >>> torch.allclose(inner.trace(), outer.trace())
        True

    Source: Gupta et al. 2018 (1802.09568), Shampoo: these are its two factors.
    """
    rows, columns, out = x.shape[1], x.shape[2], g.shape[2]
    through_rows = rows**2 * 2 * (columns + out) + rows * (columns**2 + out**2)
    if through_rows <= columns * out * (rows + columns + out):
        inner = _gram(x, (g @ g.mT) @ x)
        return inner, _gram(g, (x @ x.mT) @ g)
    d = g.mT @ x
    return _gram(d, d), _gram(d.mT, d.mT)


def _gram(left: Tensor, right: Tensor) -> Tensor:
    """``Σ leftᵀ right`` over examples and rows, in one product."""
    return left.flatten(0, 1).mT @ right.flatten(0, 1)

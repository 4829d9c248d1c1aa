"""The gradients of factored least squares, plain and weighted.

docs/calculus.md derives them. Results are detached from the graph of the arguments.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from eckart.errors import InputError
from eckart.linalg.admissible import admissible_matrix, admissible_moment

Pair = tuple[Float[Tensor, "out rank"], Float[Tensor, "rank2 in"]]


@torch.no_grad()
def frobenius_gradients(target: Tensor, left: Tensor, core: Tensor, right: Tensor) -> Pair:
    """Gradients of ``½ ‖X − U D V‖²_F`` in U and in V.

    They are ``−E (D V)ᵀ`` and ``−(U D)ᵀ E`` with ``E = X − U D V``.

    Args:
        target: X, shape (out, in), real floating point.
        left: U, (out, r).
        core: D, (r, s), diagonal or not.
        right: V, (s, in).

    Raises:
        InputError: shapes that do not fit, unusable dtypes. NonFiniteError for NaN and infinity.

    Cost: O(out·in·(r + s)).

    Source: Petersen and Pedersen 2012, The Matrix Cookbook, section 2.5.

    Example:
        >>> one = torch.ones(1, 1)
        >>> frobenius_gradients(3 * one, one, one, 2 * one)
        (tensor([[-2.]]), tensor([[-1.]]))
    """
    X, U = admissible_matrix(target, "target"), admissible_matrix(left, "left")
    D, V = admissible_matrix(core, "core"), admissible_matrix(right, "right")
    shapes = [tuple(part.shape) for part in (U, D, V)]
    _check_chain(shapes, tuple(X.shape))
    inner, outer = D @ V, U @ D
    E = X - U @ inner
    return -E @ inner.mT, -outer.mT @ E


@torch.no_grad()
def weighted_gradients(weight: Tensor, a: Tensor, g: Tensor, left: Tensor, right: Tensor) -> Pair:
    """Gradients of ``½ tr(G (W − U V) A (W − U V)ᵀ)`` in U and in V.

    They are ``−G E A Vᵀ`` and ``−Uᵀ G E A`` with ``E = W − U V``.

    Args:
        weight: W, shape (out, in), real floating point.
        a: A, (in, in), symmetric.
        g: G, (out, out), symmetric.
        left: U, (out, r).
        right: V, (r, in).

    Raises:
        InputError: shapes that do not fit, unusable dtypes. NonFiniteError for NaN and infinity.

    Cost: O(out·in·(out + in)).

    Source: Srebro and Jaakkola 2003, section 2, with a Kronecker weight.

    Example:
        >>> one = torch.ones(1, 1)
        >>> weighted_gradients(3 * one, 2 * one, 5 * one, one, one)
        (tensor([[-20.]]), tensor([[-20.]]))
    """
    W, A, G, U, V = admissible_problem(weight, a, g, left, right)
    slope = G @ (W - U @ V) @ A
    return -slope @ V.mT, -U.mT @ slope


def admissible_problem(
    weight: Tensor, a: Tensor, g: Tensor, left: Tensor, right: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Check that W, A, G, U and V fit, and return them."""
    W, (out, inputs) = admissible_matrix(weight, "weight"), weight.shape
    A, G = admissible_moment(a, inputs, "a"), admissible_moment(g, out, "g")
    U, V = admissible_matrix(left, "left"), admissible_matrix(right, "right")
    _check_chain([tuple(U.shape), tuple(V.shape)], (out, inputs))
    return W, A, G, U, V


def _check_chain(shapes: list[tuple[int, ...]], whole: tuple[int, ...]) -> None:
    ends = (shapes[0][0], shapes[-1][1])
    joints = [after[0] == before[1] for before, after in pairwise(shapes)]
    if ends != whole or not all(joints):
        chain = " @ ".join(str(shape) for shape in shapes)
        raise InputError(f"{chain} does not multiply to shape {whole}")

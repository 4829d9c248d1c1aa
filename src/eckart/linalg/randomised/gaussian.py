"""Random factors whose product has entries as large as those of the matrix they replace."""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from eckart.linalg.admissible import admissible, check_rank

Factor = Float64[Tensor, "groups rows columns"]


def random_factors(
    weight: Float64[Tensor, "groups out in"],
    rank: int,
    *,
    core: bool = False,
    generator: torch.Generator | None = None,
) -> list[Factor]:
    """Gaussian ``U [· core] · V`` whose product has entries of the same variance as the weight.

    Let ``s² = mean(W²)``. Before training, this is the variance of the layer's own initialisation
    (Glorot's, He's or torch's). The entries of U have variance ``s √(in / (out rank))``, those of V
    ``s √(out / (in rank))``, and those of the core ``1/rank``. Then an entry of the product has
    variance ``s²``, so outputs and gradients have the same variance as with the dense layer. U and
    V are also equally large. Gradient descent preserves this balance, and without it diverges
    sooner. A zero weight gives a zero U and a V of variance ``1/in``, which can still learn.

    A product of low rank has its variance in few directions. These are ``√(min(in, out) / rank)``
    times as strong as those of the dense matrix, and need smaller steps.

    Args:
        weight: the dense weight, shape (groups, out, in).
        rank: width between the factors, per group.
        core: whether to put a square matrix between the factors.
        generator: random generator; None means torch's own.

    Returns:
        From the outputs to the inputs: U (groups, out, rank), core (groups, rank, rank) if
        requested, V (groups, rank, in).

    Raises:
        InputError: a rank that the matrix cannot have, or a weight that is empty or on meta.
        NonFiniteError: NaN or infinity.

    Cost: O(groups · rank · (out + in + rank)).

    Source: Glorot and Bengio 2010, equations 8 to 11, for a chain without activations; He et al.
        2015 (1502.01852), equations 7 to 10; Du, Hu and Lee 2018 (1806.00900), theorem 2.1, for
        the balance of the factors.

    Example:
        >>> U, V = random_factors(torch.full((1, 400, 300), 0.1, dtype=torch.float64), 50)
        >>> 0.09 < (U @ V).std() < 0.11
        tensor(True)
    """
    weight = admissible(weight, "weight")
    groups, out, inputs = weight.shape
    check_rank(rank, (out, inputs))
    size = weight.square().mean().sqrt()
    left = (size * (inputs / (out * rank)) ** 0.5).sqrt()
    right = (size * (out / (inputs * rank)) ** 0.5).sqrt() if size > 0 else inputs**-0.5
    scales = [(left, out, rank), (rank**-0.5, rank, rank), (right, rank, inputs)]
    device = None if generator is None else generator.device
    return [
        torch.randn(groups, *shape, generator=generator, dtype=torch.float64, device=device).to(
            weight.device
        )
        * scale
        for scale, *shape in (scales if core else scales[::2])
    ]

"""Random factors whose product is as large, entry by entry, as the matrix they stand in for."""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

Factor = Float64[Tensor, "groups rows columns"]


def random_factors(
    weight: Float64[Tensor, "groups out in"],
    rank: int,
    *,
    core: bool = False,
    generator: torch.Generator | None = None,
) -> list[Factor]:
    """Gaussian ``U [· core] · V`` whose product has entries of the variance of the weight's own.

    With ``s² = mean(W²)``, which before training is the variance of the layer's own initialisation
    (Glorot's, He's or torch's), the entries of V have variance ``1/in``, those of the core
    ``1/rank``, and those of U ``s² in / rank``. Then an entry of the product has variance ``s²``;
    what stands between the factors has the variance of the inputs; and outputs and gradients have
    that of the dense layer. A zero weight makes U zero, and V and the core random: they learn.

    Args:
        weight: the dense weight.
        rank: width between the factors, per group.
        core: whether a square matrix stands between.
        generator: of the numbers; None takes torch's own.

    Returns:
        From the outputs to the inputs: U (groups, out, rank), core (groups, rank, rank) if asked
        for, V (groups, rank, in).

    Cost: O(groups · rank · (out + in + rank)).

    Source: Glorot and Bengio 2010, equations 8 to 11, for a chain without activations; He et al.
        2015 (1502.01852), equations 7 to 10.

    Example:
        >>> U, V = random_factors(torch.full((1, 400, 300), 0.1, dtype=torch.float64), 50)
        >>> 0.09 < (U @ V).std() < 0.11
        tensor(True)
    """
    groups, out, inputs = weight.shape
    first = (weight.square().mean() * inputs / rank).sqrt()
    scales = [(first, out, rank), (rank**-0.5, rank, rank), (inputs**-0.5, rank, inputs)]
    device = None if generator is None else generator.device
    return [
        torch.randn(groups, *shape, generator=generator, dtype=torch.float64, device=device).to(
            weight.device
        )
        * scale
        for scale, *shape in (scales if core else scales[::2])
    ]

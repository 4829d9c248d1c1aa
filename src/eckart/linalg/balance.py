"""Two factors with the scale of each component split evenly between them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def balanced(
    first: Float[Tensor, "groups rank inner"], second: Float[Tensor, "groups out rank *k"]
) -> tuple[Float[Tensor, "groups rank inner"], Float[Tensor, "groups out rank *k"]]:
    """Rescale both factors to equal norms per component; a zero component is not changed."""
    longer, shorter = first.norm(dim=2), second.movedim(2, 1).flatten(2).norm(dim=2)
    scale = (longer / shorter.clamp_min(1e-300)).sqrt()
    scale = torch.where((longer > 0) & (shorter > 0), scale, 1.0)
    inner = scale.reshape(len(scale), 1, -1, *[1] * (second.dim() - 3))
    return first / scale[..., None], second * inner

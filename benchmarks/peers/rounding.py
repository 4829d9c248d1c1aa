"""Rounding as it is usually done: grids that cover all weights, large inputs first."""

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn.functional import pad

from eckart.linalg.rounding import Grid, Triangle, triangle


def covering_grid(weight: Float64[Tensor, "groups out in"], bits: int, span: int) -> Grid:
    """The asymmetric grid that clips no weight; zero is on it."""
    cut = pad(weight, (0, -weight.shape[-1] % span)).unflatten(-1, (-1, span))
    low, high = cut.amin(-1).clamp_max(0), cut.amax(-1).clamp_min(0)
    scale = ((high - low) / (2**bits - 1)).half()
    zero = torch.where(scale == 0, 0.0, -low / scale.double()).round().clamp(0, 2**bits - 1)
    return Grid(scale, zero.to(torch.uint8), bits, span)


def by_size(moment: Float64[Tensor, "groups n n"]) -> Triangle:
    """Factored so that the inputs of the largest mean square are rounded first, as by GPTQ."""
    order = moment.diagonal(dim1=1, dim2=2).argsort(-1)
    groups = torch.arange(len(moment))[:, None, None]
    found = triangle(moment[groups, order[:, :, None], order[:, None, :]], ordered=False)
    return Triangle(found.lower, found.diagonal, order)

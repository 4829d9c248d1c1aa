"""Random second moments and weights for the tests of the mathematical core."""

import torch
from torch import Tensor

from eckart.linalg import damped, quadratic_loss


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def second_moment(groups: int, n: int, *, seed: int, rank: int | None = None) -> Tensor:
    """A damped moment of ``rank`` directions whose scales spread over two orders."""
    rows = normal(groups, n, n if rank is None else rank, seed=seed)
    rows = rows * torch.logspace(0, -2, rows.shape[-1], dtype=torch.float64)
    return damped(rows @ rows.mT, 1e-6)


def losses_of(weight: Tensor, candidates: list[Tensor], a: Tensor, g: Tensor) -> Tensor:
    """The quadratic loss of each candidate in the place of ``weight``."""
    losses = [quadratic_loss(weight - candidate, a, g) for candidate in candidates]
    return torch.tensor(losses, dtype=torch.float64)

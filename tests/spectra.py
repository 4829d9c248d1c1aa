"""Matrices of known singular values for the tests of decompositions."""

import torch
from torch import Tensor

from random_moments import normal, seeded


def with_values(m: int, n: int, values: Tensor, seed: int = 0) -> Tensor:
    """Float64, with these singular values and random vectors."""
    left = torch.linalg.qr(normal(m, len(values), seed=seed))[0]
    right = torch.linalg.qr(normal(n, len(values), seed=seed + 1))[0]
    return (left * values) @ right.mT


def power_law(m: int, n: int, exponent: float, seed: int = 0) -> Tensor:
    values = torch.arange(1, min(m, n) + 1, dtype=torch.float64).pow(-exponent)
    return with_values(m, n, values, seed)


def low_rank(m: int, n: int, rank: int, noise: float, seed: int = 0) -> Tensor:
    """A product of Gaussian factors and white noise."""
    signal = normal(m, rank, seed=seed) @ normal(rank, n, seed=seed + 1)
    return signal + noise * normal(m, n, seed=seed + 2)


def assert_orthonormal_rows(rows: Tensor, within: float = 1e-5) -> None:
    eye = torch.eye(len(rows), dtype=torch.float64)
    torch.testing.assert_close(rows.double() @ rows.double().mT, eye, rtol=0, atol=within)


__all__ = ["assert_orthonormal_rows", "low_rank", "power_law", "seeded", "with_values"]

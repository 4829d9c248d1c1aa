"""The sums of one batch that tell how much an output varies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eckart.errors import NonFiniteError
from eckart.metrics.logits import real_vectors
from eckart.records.spreads import Spread


@torch.no_grad()
def spread_of(path: str, tensors: tuple[Tensor, ...], batch: Any, weight: float) -> Spread:
    """What the tensors of one output add, without padding and without infinite entries.

    Raises:
        NonFiniteError: an entry is NaN.

    Cost: O(entries) time, and memory of one example.
    """
    parts = [_sums(path, z, batch, weight) for z in tensors]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _sums(path: str, z: Tensor, batch: Any, weight: float) -> Spread:
    real = real_vectors(z, batch)
    z = z.detach().float()
    z = z if real is None else z.reshape(-1, z.shape[-1])[real.to(z.device)]
    square = float(torch.linalg.vector_norm(z).double().square())
    entries = z.numel()
    if square != square or square == float("inf"):
        z, entries = _without_infinities(path, z)
        square = float(z.double().square().sum())
    freedom = (len(z) - 1) * (z.numel() // len(z)) if len(z) > 1 else 0
    within = float(z.var(0, correction=0).sum(dtype=torch.float64)) * len(z) if freedom else 0.0
    return Spread(
        entries=entries,
        total=float(z.sum(dtype=torch.float64)),
        squares=square,
        within=within,
        freedom=freedom,
        weight=weight,
    )


def _without_infinities(path: str, z: Tensor) -> tuple[Tensor, int]:
    """The finite entries, zero in place of the others, which mask something; and their number."""
    if bool(torch.isnan(z).any()):
        raise NonFiniteError(
            f"the output {path!r} holds NaN: check the data and the network, or leave the output "
            "out with outputs=…"
        )
    finite = torch.isfinite(z)
    return z.where(finite, 0.0), int(finite.sum())

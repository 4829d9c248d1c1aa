"""The change of an encoder's pooled embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from eckart.errors import InputError
from eckart.metrics.logits import real_vectors
from eckart.metrics.probes import named

Pooling = Literal["mean", "cls"]


@dataclass(frozen=True)
class Embedding:
    """Half the squared change of the pooled embedding: ``G = E[Jᵀ J]``, without labels.

    All tokens of an example act on its one embedding, so their rows are taken jointly: two errors
    of one direction add up, which the moments of single rows do not show.

    Attributes:
        pooling: the ``"mean"`` over real tokens, or the first token, ``"cls"``.
        normalised: the embedding has length one.
        samples: Gaussian directions per batch, whose grams are averaged.
        joint: whether the rows of an example are taken jointly, see ``Probe``.

    Source: Gauss–Newton matrix by random projections (Hutchinson 1990).
    """

    pooling: Pooling = "mean"
    normalised: bool = True
    samples: int = 4
    joint: bool = True

    def __post_init__(self) -> None:
        if self.pooling not in ("mean", "cls") or self.samples < 1:
            raise InputError(
                f"Embedding(pooling={self.pooling!r}, samples={self.samples}): the pooling is "
                "'mean' or 'cls', and there is at least one sample"
            )

    def __call__(
        self, outputs: Any, batch: Any, generator: torch.Generator
    ) -> Float[Tensor, "samples"]:
        """``Σ v · embedding`` for each sample ``v``."""
        vectors = pooled(outputs, batch, self.pooling, self.normalised)
        v = torch.randn(self.samples, *vectors.shape, generator=generator)
        return (v.to(vectors) * vectors).sum((1, 2))

    def observed(self, outputs: Any, batch: Any) -> Tensor:
        """The embeddings."""
        return pooled(outputs, batch, self.pooling, self.normalised)

    def change(self, found: Tensor, outputs: Any, batch: Any) -> float:
        """Half the squared change of the embeddings."""
        change = found.double() - self.observed(outputs, batch).double()
        return 0.5 * float(change.square().sum())


def pooled(
    outputs: Any, batch: Any, pooling: Pooling = "mean", normalised: bool = True
) -> Float[Tensor, "batch width"]:
    """One vector per example from an encoder's ``last_hidden_state``, in float32 or better.

    Raises:
        InputError: the outputs hold no hidden states (batch, tokens, width).
    """
    hidden = outputs if isinstance(outputs, Tensor) else named(outputs, "last_hidden_state")
    if hidden is None or hidden.dim() != 3:
        raise InputError(
            "an embedding is pooled from 'last_hidden_state' (batch, tokens, width); the outputs "
            f"are of type {type(outputs).__name__} and hold none"
        )
    hidden = hidden if hidden.dtype == torch.float64 else hidden.float()
    if pooling == "cls":
        vectors = hidden[:, 0]
    else:
        real = real_vectors(hidden, batch)
        weight = hidden.new_ones(hidden.shape[:2]) if real is None else real.to(hidden)
        weight = weight.reshape(*hidden.shape[:2], 1)
        vectors = (hidden * weight).sum(1) / weight.sum(1).clamp_min(1)
    return F.normalize(vectors, dim=1) if normalised else vectors

"""The change of an encoder's pooled embedding, and of the similarities computed from it."""

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

    All tokens of an example contribute to its one embedding, so their rows are taken jointly: two
    errors in the same direction add up, and the moments of single rows do not show that.

    Attributes:
        pooling: the ``"mean"`` over real tokens, or the first token, ``"cls"``.
        normalised: whether the embedding is scaled to length one.
        samples: Gaussian directions per batch, whose grams are averaged.
        joint: whether the rows of an example are taken jointly, see ``Probe``.

    Source: Gauss–Newton matrix by random projections (Hutchinson 1990).
    """

    pooling: Pooling = "mean"
    normalised: bool = True
    samples: int = 4
    joint: bool = True

    def __post_init__(self) -> None:
        _check(self)

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


@dataclass(frozen=True)
class Similarity:
    """Half the squared change of an example's cosine similarity to another of its batch.

    Most embeddings are used for similarities: in search, clustering and pairs. The embedding of the
    other example stays unchanged, and the mean is taken over all others in the batch. Directions
    that tell examples apart therefore count more than directions in which none of them lies. An
    example that is alone in its batch is compared with a random direction.

    Attributes:
        pooling: the ``"mean"`` over real tokens, or the first token, ``"cls"``.
        samples: random mixtures of the others per batch, whose grams are averaged.
        joint: whether the rows of an example are taken jointly, see ``Probe``.

    Source: Gauss–Newton matrix of the similarities by random projections (Hutchinson 1990).
    """

    pooling: Pooling = "mean"
    samples: int = 4
    joint: bool = True

    def __post_init__(self) -> None:
        _check(self)

    def __call__(
        self, outputs: Any, batch: Any, generator: torch.Generator
    ) -> Float[Tensor, "samples"]:
        """``Σ v · embedding`` for each sample, where ``v`` randomly mixes the other embeddings."""
        vectors = self.observed(outputs, batch)
        count, width = vectors.shape
        if count == 1:
            v = torch.randn(self.samples, 1, width, generator=generator).to(vectors) / width**0.5
        else:
            mixture = torch.randn(self.samples, count, count, generator=generator).to(vectors)
            mixture.diagonal(dim1=1, dim2=2).zero_()  # of the other examples only
            v = mixture @ vectors.detach() / (count - 1) ** 0.5
        total: Tensor = (v * vectors).sum((1, 2))
        return total

    def observed(self, outputs: Any, batch: Any) -> Tensor:
        """The embeddings, scaled to length one."""
        return pooled(outputs, batch, self.pooling)

    def change(self, found: Tensor, outputs: Any, batch: Any) -> float:
        """Half the squared change of the similarities, averaged over the other examples."""
        before = self.observed(outputs, batch).double()
        change, (count, width) = found.double() - before, before.shape
        if count == 1:
            return 0.5 * float(change.square().sum()) / width
        changes = (change @ before.mT).fill_diagonal_(0.0)
        return 0.5 * float(changes.square().sum()) / (count - 1)


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


def _check(metric: Embedding | Similarity) -> None:
    if metric.pooling not in ("mean", "cls") or metric.samples < 1:
        raise InputError(
            f"{metric}: the pooling is 'mean' or 'cls', and there is at least one sample"
        )

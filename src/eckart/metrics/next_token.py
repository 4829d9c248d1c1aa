"""The causal language model's cross entropy, in nats per predicted token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from eckart.errors import InputError
from eckart.metrics.logits import IGNORED, divergence, logits_of
from eckart.metrics.probes import named
from eckart.running.batches import inputs_of, tensors_in
from eckart.running.masks import masks_of

_ROWS = 256  # positions whose probabilities are held at once


@dataclass(frozen=True)
class NextToken:
    """Cross entropy of the next token: ``G`` is the Fisher matrix, per predicted token.

    The loss of an option is then what it adds to the mean negative log-likelihood, in nats.
    Targets are the ``labels`` of the batch, with -100 where nothing is predicted, or its token ids.
    Position t predicts target t + 1; it predicts nothing if the attention mask marks either of the
    two as padding. The labels of an encoder–decoder model are not shifted.

    Attributes:
        targets: ``"true"`` takes the targets of the batch (the empirical Fisher); ``"sampled"``
            draws them from the model (the true Fisher).
        samples: number of targets drawn per position; must be 1 with true targets.
    """

    targets: Literal["true", "sampled"] = "true"
    samples: int = 1

    def __post_init__(self) -> None:
        known = self.targets in ("true", "sampled")
        if not known or self.samples < 1 or (self.targets == "true" and self.samples > 1):
            raise InputError(
                f"NextToken(targets={self.targets!r}, samples={self.samples}): the targets are "
                "either 'true', with samples=1, or 'sampled', with one sample or more"
            )

    def __call__(
        self, outputs: Any, batch: Any, generator: torch.Generator
    ) -> Float[Tensor, "*samples"]:
        """Cross entropy summed over predicted tokens, one value per sample."""
        targets = predicted_tokens(outputs, batch).flatten()
        logits = logits_of(outputs).flatten(0, -2)
        if self.targets == "true":
            return F.cross_entropy(logits.float(), targets, reduction="sum", ignore_index=IGNORED)
        drawn = _drawn(logits.detach(), self.samples, generator)
        scores = logits.float().log_softmax(-1)
        losses = [
            F.nll_loss(
                scores,
                column.where(targets != IGNORED, IGNORED),
                reduction="sum",
                ignore_index=IGNORED,
            )
            for column in drawn.unbind(1)
        ]
        return torch.stack(losses)

    def observed(self, outputs: Any, batch: Any) -> Tensor:
        """The logits."""
        return logits_of(outputs)

    def change(self, found: Tensor, outputs: Any, batch: Any) -> float:
        """Kullback–Leibler divergence from the original network, over predicted tokens."""
        predicted = predicted_tokens(outputs, batch).flatten() != IGNORED
        return divergence(logits_of(outputs).flatten(0, -2), found.flatten(0, -2), predicted)

    def count(self, batch: Any, outputs: Any) -> int:
        """Number of predicted tokens."""
        return int((predicted_tokens(outputs, batch) != IGNORED).sum())


def predicted_tokens(outputs: Any, batch: Any) -> Int[Tensor, "batch tokens"]:
    """The target of each position of the logits, -100 where nothing is predicted.

    Args:
        outputs: what the network returned, with logits of shape (batch, tokens, vocabulary).
        batch: what the loader gave.

    Raises:
        InputError: there are no labels or token ids, their shape does not match that of the logits,
            or nothing is predicted.
    """
    logits, labels = logits_of(outputs), _labels(batch)
    if labels is None or logits.shape[:-1] != labels.shape or labels.dim() != 2:
        found = "none" if labels is None else tuple(labels.shape)
        raise InputError(
            "the next-token metric needs logits (batch, tokens, vocabulary) and labels or "
            f"input_ids (batch, tokens), got logits {tuple(logits.shape)} and labels {found}; "
            "for an encoder–decoder model pass labels= in the batch"
        )
    targets = labels.to(logits.device, torch.int64)
    if named(outputs, "encoder_last_hidden_state") is None:
        targets = _shifted(targets, inputs_of(batch))
    if not bool((targets != IGNORED).any()):
        raise InputError(
            "no token of this batch is predicted: it needs sequences of two tokens or more, and "
            "labels that are not all -100"
        )
    return targets


def _labels(batch: Any) -> Tensor | None:
    """The labels of a batch, or its token ids."""
    inputs = inputs_of(batch)
    if inputs is not batch and isinstance(batch[1], Tensor):
        return batch[1]
    if isinstance(inputs, Mapping):
        found = inputs.get("labels")
        found = inputs.get("input_ids") if found is None else found
        return found if isinstance(found, Tensor) else None
    ids = (t for t in tensors_in(inputs) if not t.is_floating_point() and t.dim() == 2)
    return next(ids, None)


def _shifted(targets: Tensor, inputs: Any) -> Tensor:
    """Move target t + 1 to place t, where both tokens are real."""
    following = targets.roll(-1, 1)
    following[:, -1] = IGNORED
    for mask in masks_of(inputs):
        if mask.shape == targets.shape:
            real = mask.to(targets.device)
            following = following.where(real & real.roll(-1, 1), IGNORED)
    return following


def _drawn(
    logits: Float[Tensor, "rows classes"], samples: int, generator: torch.Generator
) -> Int[Tensor, "rows samples"]:
    """Draw classes: the first whose cumulative probability exceeds a uniform random number."""
    uniform = torch.rand(len(logits), samples, generator=generator).to(logits.device)
    drawn = []
    for rows, u in zip(logits.split(_ROWS), uniform.split(_ROWS), strict=True):
        cumulated = rows.float().softmax(-1).cumsum(-1)
        drawn.append(torch.searchsorted(cumulated, u * cumulated[:, -1:], right=True))
    return torch.cat(drawn).clamp_max(logits.shape[-1] - 1)

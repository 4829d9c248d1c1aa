"""Scores of language models and of sentence embeddings."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from math import exp, sqrt
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from eckart.errors import InputError
from eckart.metrics import IGNORED, Pooling, logits_of, pooled, predicted_tokens
from eckart.records import Score
from eckart.running.batches import check_rereadable
from eckart.scores.by_example import MOST_NATS, ByExample
from eckart.scores.running import outputs_over

_ROWS = 256  # positions whose probabilities are in memory at once


def perplexity(batches: Iterable[Any]) -> ByExample:
    """Make an ``evaluate`` that returns ``exp`` of the mean negative log-likelihood per token.

    The predicted tokens are those of ``NextToken``: the ``labels``, without those that are -100, or
    the token ids themselves, each predicted from the ones before it in its row. Padding is not
    predicted.

    Args:
        batches: dicts with ``input_ids``, (batch, tokens), iterated once per evaluation.

    Returns:
        ``evaluate(model) -> Score``; lower is better. n is the number of predicted tokens, and the
        standard error assumes that they are independent.

    Raises:
        InputError: ``batches`` can be read only once, is empty, or has no token to predict.
    """
    check_rereadable(batches, "perplexity")

    def whole(model: nn.Module) -> Score:
        parts = [_nats(outputs, batch)[0] for batch, outputs in outputs_over(model, batches)]
        nats = torch.cat(parts)
        value = exp(min(float(nats.mean()), MOST_NATS))
        spread = float(nats.std()) if len(nats) > 1 else 0.0
        return Score(
            value, len(nats), higher_is_better=False, error=value * spread / sqrt(len(nats))
        )

    def samples(model: nn.Module) -> Generator[Tensor, None, None]:
        for batch, outputs in outputs_over(model, batches):
            nats, rows = _nats(outputs, batch)
            sums = torch.zeros(int(rows.max()) + 1).double().index_add_(0, rows, nats)
            counts = rows.bincount(minlength=len(sums))
            yield (sums / counts.double().mean())[counts > 0]

    return ByExample(whole, samples, batches, higher_is_better=False, exponential=True, unit="row")


def spearman(
    pairs: Iterable[tuple[Any, Any]],
    targets: Sequence[float],
    pooling: Pooling = "mean",
) -> Callable[[nn.Module], Score]:
    """Make an ``evaluate`` that returns the rank correlation of cosine similarities with scores.

    Args:
        pairs: batches of (first sentences, second sentences), each a dict of inputs for an
            encoder; iterated twice per evaluation.
        targets: one human score per pair of sentences, in the order of the batches.
        pooling: how ``last_hidden_state`` becomes one vector.

    Returns:
        ``evaluate(model) -> Score``, from -1 to 1; n is the number of pairs.

    Raises:
        InputError: ``pairs`` can be read only once, is empty, or does not fit ``targets``; or the
            correlation is not defined, because all values are equal.

    Source: Bonett and Wright 2000, Psychometrika 65, for the standard error.
    """
    check_rereadable(pairs, "spearman")

    def evaluate(model: nn.Module) -> Score:
        from scipy.stats import spearmanr

        first = _vectors(model, (pair[0] for pair in pairs), pooling)
        second = _vectors(model, (pair[1] for pair in pairs), pooling)
        similarities = (first * second).sum(1).tolist()
        n = len(similarities)
        if n != len(targets) or n < 4 or len(set(targets)) < 2 or len(set(similarities)) < 2:
            raise InputError(
                f"spearman got {n} pairs of sentences and {len(targets)} targets: expected one "
                "target per pair, at least four pairs, and values that are not all equal"
            )
        value = float(spearmanr(similarities, targets).statistic)
        return Score(value, n, error=(1 - value**2) * sqrt((1 + value**2 / 2) / (n - 3)))

    return evaluate


def _nats(
    outputs: Any, batch: Any
) -> tuple[Float[Tensor, " predicted"], Int64[Tensor, " predicted"]]:
    """Negative log-likelihood of each predicted token, in float32, as float64; and its row."""
    wanted = predicted_tokens(outputs, batch)
    targets = wanted.flatten()
    logits = logits_of(outputs).flatten(0, -2)
    parts = [
        F.cross_entropy(rows.float(), part, reduction="none", ignore_index=IGNORED)
        for rows, part in zip(logits.split(_ROWS), targets.split(_ROWS), strict=True)
    ]
    rows = torch.arange(len(wanted)).repeat_interleave(wanted[0].numel())
    predicted = (targets != IGNORED).cpu()
    return torch.cat(parts).cpu()[predicted].double(), rows[predicted]


def _vectors(
    model: nn.Module, batches: Iterable[Any], pooling: Pooling
) -> Float[Tensor, "sentences width"]:
    """Normalised embeddings of all sentences."""
    found = [
        pooled(outputs, b, pooling).double().cpu() for b, outputs in outputs_over(model, batches)
    ]
    return torch.cat(found)

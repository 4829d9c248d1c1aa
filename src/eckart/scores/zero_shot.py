"""Accuracy on questions that a model was not trained for: which answer it finds most likely."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp
from typing import Any

import torch
from jaxtyping import Bool, Float64
from torch import Tensor, nn
from torch.nn import functional as F

from eckart.errors import InputError
from eckart.metrics import logits_of
from eckart.records import Score
from eckart.scores.by_example import MOST_NATS
from eckart.scores.items import Item
from eckart.scores.running import outputs_over
from eckart.text import Tokenizer

_TOKENS = 2048  # in a batch, padding included


@dataclass(frozen=True)
class Request:
    """Tokens of a context and its continuation, of which the last ``scored`` are the latter."""

    ids: tuple[int, ...]
    scored: int


@dataclass(frozen=True, eq=False)
class Answered:
    """What a network finds likely.

    Attributes:
        items: the questions.
        nats: log-likelihood of every continuation, item by item.
        greedy: whether each is what the network would have written itself.
    """

    items: Sequence[Item]
    nats: Float64[Tensor, " pairs"]
    greedy: Bool[Tensor, " pairs"]

    @property
    def accuracy(self) -> Score:
        """The share of items whose right answer is the most likely one, or is written greedily."""
        return self._share(normalised=False)

    @property
    def normalised(self) -> Score | None:
        """The same by likelihood per character; None where there is nothing to choose from."""
        if any(item.gold is None for item in self.items):
            return None
        return self._share(normalised=True)

    @property
    def perplexity(self) -> Score | None:
        """Of the continuations, each as a whole; None where there are several to choose from."""
        if any(item.gold is not None for item in self.items):
            return None
        value = exp(min(-float(self.nats.mean()), MOST_NATS))
        count = len(self.nats)
        spread = float(self.nats.std()) if count > 1 else 0.0
        return Score(value, count, higher_is_better=False, error=value * spread / count**0.5)

    def _share(self, normalised: bool) -> Score:
        right, at = [], 0
        for item in self.items:
            mine = slice(at, at + len(item.pairs))
            at = mine.stop
            if item.gold is None:
                right.append(float(self.greedy[mine][0]))
                continue
            nats = self.nats[mine]
            if normalised:
                nats = nats / torch.tensor(item.lengths)
            right.append(float(int(nats.argmax()) == item.gold))
        samples = torch.tensor(right)
        return Score(float(samples.double().mean()), len(right), samples=samples)


def answered(
    model: nn.Module, items: Sequence[Item], tokenizer: Tokenizer, most_tokens: int | None = None
) -> Answered:
    """Ask a causal language model, without examples, as ``lm-eval`` does.

    Context and continuation are tokenised together, with the special tokens that the tokenizer
    adds by itself, and cut where the context's own tokens end. Requests are batched by length.

    Args:
        model: of ``transformers``, or one that takes ``input_ids`` and ``attention_mask`` and gives
            logits.
        items: from ``read_items``.
        tokenizer: the model's.
        most_tokens: that it reads at once; contexts are cut at their beginning. None is what the
            model's configuration says.

    Raises:
        InputError: there are no items.

    Cost: one forward pass over the tokens of all answers, in batches of 2,048 tokens.
    """
    if not items:
        raise InputError("there are no items to ask")
    if most_tokens is None:
        most_tokens = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    pairs = [pair for item in items for pair in item.pairs]
    requests = [_request(tokenizer, *pair, most_tokens) for pair in pairs]
    order = sorted(range(len(requests)), key=lambda at: -len(requests[at].ids))
    batches = list(_batches([requests[at] for at in order]))
    nats, greedy = torch.zeros(len(pairs)).double(), torch.zeros(len(pairs), dtype=torch.bool)
    done = 0
    inputs = (_padded(batch) for batch in batches)
    for batch, (_, outputs) in zip(batches, outputs_over(model, inputs), strict=True):
        where = torch.tensor(order[done : done + len(batch)])
        nats[where], greedy[where] = _judged(logits_of(outputs), batch)
        done += len(batch)
    return Answered(items, nats, greedy)


def _request(tokenizer: Tokenizer, context: str, continuation: str, most: int | None) -> Request:
    """Blanks at the end of the context belong to what continues it."""
    bare = context.rstrip()
    continuation = context[len(bare) :] + continuation
    before, whole = _ids(tokenizer, bare), _ids(tokenizer, bare + continuation)
    scored = max(1, len(whole) - len(before))
    cut = whole if most is None else whole[-(most + 1) :]
    return Request(tuple(cut), min(scored, len(cut) - 1))


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    found: list[int] = tokenizer(text, verbose=False)["input_ids"]
    return found


def _batches(requests: Sequence[Request]) -> Iterator[list[Request]]:
    """In their order, the longest first, so that padding is little."""
    batch: list[Request] = []
    for request in requests:
        if batch and (len(batch) + 1) * len(batch[0].ids) > _TOKENS:
            yield batch
            batch = []
        batch.append(request)
    yield batch


def _padded(batch: Sequence[Request]) -> dict[str, Any]:
    """All but the last token of each, padded at the end."""
    longest = max(len(request.ids) for request in batch) - 1
    ids = torch.zeros(len(batch), longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, request in enumerate(batch):
        ids[row, : len(request.ids) - 1] = torch.tensor(request.ids[:-1])
        mask[row, : len(request.ids) - 1] = 1
    return {"input_ids": ids, "attention_mask": mask}


def _judged(logits: Tensor, batch: Sequence[Request]) -> tuple[Tensor, Tensor]:
    """Log-likelihood of each continuation, and whether all of its tokens are the likeliest."""
    rows = [row for row, request in enumerate(batch) for _ in range(request.scored)]
    places = [
        at
        for request in batch
        for at in range(len(request.ids) - 1 - request.scored, len(request.ids) - 1)
    ]
    targets = [token for request in batch for token in request.ids[-request.scored :]]
    wanted = torch.tensor(targets, device=logits.device)
    row = torch.tensor(rows, device=logits.device)
    found = logits[row, torch.tensor(places, device=logits.device)].float()
    each = -F.cross_entropy(found, wanted, reduction="none").double()
    hits = (found.argmax(-1) == wanted).double()
    count = torch.tensor([request.scored for request in batch], device=logits.device)
    sums = torch.zeros(2, len(batch), dtype=torch.float64, device=logits.device)
    sums = sums.index_add_(1, row, torch.stack([each, hits]))
    return sums[0].cpu(), (sums[1] == count).cpu()

"""Sentences that calibrate an encoder, and pairs of sentences that judge it."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from benchmarks.subjects.language import STORIES, STS, WIKITEXT, Batch, text

Encoder = Callable[..., Mapping[str, Tensor]]
"""A tokenizer of ``transformers``, of many texts at once."""
TEXTS = (WIKITEXT, STORIES)
CALIBRATION, HELD_OUT = 1024, 256  # sentences per source; the held-out ones follow
BATCH, LONGEST, WORDS = 32, 128, 5


def sentences(whole: str) -> list[str]:
    """Sentences of unlabelled text with enough words and no gaps."""
    found = re.split(r"(?<=[.!?])\s+", whole.replace("\n", " "))
    return [s.strip() for s in found if len(s.split()) >= WORDS and "<unk>" not in s]


def unlabelled(data: Path | None, first: int, count: int) -> list[str]:
    """Equally many sentences of each source, ordered by length to save padding."""
    found = (sentences(text(name, data))[first : first + count] for name in TEXTS)
    return sorted((sentence for some in found for sentence in some), key=len)


def calibration_sentences(data: Path | None) -> list[str]:
    """The first sentences of both sources."""
    return unlabelled(data, 0, CALIBRATION)


def encoded(tokenizer: Encoder, texts: Sequence[str]) -> list[Batch]:
    """Batches, each padded to its longest sentence."""
    parts = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
    settings = {"padding": True, "truncation": True, "max_length": LONGEST, "return_tensors": "pt"}
    return [dict(tokenizer(list(part), **settings)) for part in parts]


Pairs = list[tuple[Batch, Batch]]


def scored_pairs(tokenizer: Encoder, data: Path | None) -> tuple[Pairs, list[float]]:
    """Pairs of sentences of the dev split, and the human scores of their similarity."""
    lines = text(STS, data).splitlines()
    cells = [line.split("\t") for line in lines if line]
    first, second = (encoded(tokenizer, [row[column] for row in cells]) for column in (5, 6))
    return list(zip(first, second, strict=True)), [float(row[4]) for row in cells]

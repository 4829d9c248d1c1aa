"""Turn text into batches of token ids: windows of equal length, without padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from eckart.errors import InputError


@runtime_checkable
class Tokenizer(Protocol):
    """What a tokenizer must do; those of ``transformers`` do it."""

    def __call__(self, text: str, **settings: Any) -> Any:
        """Return a mapping whose ``input_ids`` are the ids of the text's tokens."""


def read_text(path: str | Path) -> str:
    """Read a file of UTF-8 text.

    Raises:
        InputError: the file is missing, empty or not UTF-8.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"text {path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"text {path} is not UTF-8 (byte {error.start}: {error.reason}): convert it, for "
            "example with iconv -f latin1 -t utf-8"
        ) from error
    if not text.strip():
        raise InputError(f"text {path} is empty")
    return text


def token_ids(tokenizer: Tokenizer, text: str) -> Int64[Tensor, " tokens"]:
    """The whole text as one sequence of tokens, without special tokens at its ends.

    Cost: tokenizers read about 10⁵ to 10⁶ tokens per second.
    """
    found = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)
    return torch.tensor(found["input_ids"], dtype=torch.int64)


def windows(
    tokenizer: Tokenizer, text: str, sequences: int, length: int, batch: int = 4
) -> list[dict[str, Tensor]]:
    """Batches of consecutive windows of a text, without overlap.

    Args:
        tokenizer: a tokenizer of ``transformers``, or a function that works like one.
        text: tokenised once, as a whole.
        sequences: number of windows.
        length: tokens per window.
        batch: windows per batch; the last batch may have fewer.

    Returns:
        One ``{"input_ids": Int64[Tensor, "batch length"]}`` per batch. All windows are full, so
        there is no padding and no mask.

    Raises:
        InputError: the text has too few tokens; the message says how many it has.

    Example:
        >>> def letters(text, **settings):
        ...     return {"input_ids": [ord(letter) - ord("a") for letter in text]}
        >>> windows(letters, "abcdefgh", sequences=3, length=2, batch=2)
        [{'input_ids': tensor([[0, 1], [2, 3]])}, {'input_ids': tensor([[4, 5]])}]
    """
    return cut(token_ids(tokenizer, text), sequences, length, batch)


def cut(
    ids: Int64[Tensor, " tokens"], sequences: int, length: int, batch: int = 4, first: int = 0
) -> list[dict[str, Tensor]]:
    """Do the same from tokens, starting with window number ``first``."""
    for name, value in {"sequences": sequences, "length": length, "batch": batch}.items():
        if value < 1:
            raise InputError(f"{name}={value}: expected at least 1")
    there = len(ids) // length - first
    if there < sequences:
        after = f" after the {first} that are in use" if first else ""
        raise InputError(
            f"the text has {len(ids)} tokens, which make {max(there, 0)} windows of {length}{after}"
            f"; expected {sequences}: give a longer text, or ask for fewer or shorter sequences"
        )
    rows = ids[first * length : (first + sequences) * length].view(sequences, length)
    return [{"input_ids": part} for part in rows.split(batch)]

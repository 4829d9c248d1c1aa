"""Text to batches of token ids: windows of one length, without padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from eckart.errors import InputError


@runtime_checkable
class Tokenizer(Protocol):
    """What is asked of a tokenizer: that of ``transformers``."""

    def __call__(self, text: str, **settings: Any) -> Any:
        """A mapping whose ``input_ids`` are the ids of the text's tokens."""


def read_text(path: str | Path) -> str:
    """A file of UTF-8 text.

    Raises:
        InputError: it is missing, empty, or no UTF-8.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"text {path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"text {path} is no UTF-8 (byte {error.start}: {error.reason}): convert it, as in "
            "iconv -f latin1 -t utf-8"
        ) from error
    if not text.strip():
        raise InputError(f"text {path} is empty")
    return text


def token_ids(tokenizer: Tokenizer, text: str) -> Int64[Tensor, " tokens"]:
    """The whole text as one run of tokens; none is added at its ends.

    Cost: tokenizers read some 10⁵ to 10⁶ tokens a second.
    """
    found = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)
    return torch.tensor(found["input_ids"], dtype=torch.int64)


def windows(
    tokenizer: Tokenizer, text: str, sequences: int, length: int, batch: int = 4
) -> list[dict[str, Tensor]]:
    """Batches of consecutive windows of a text that do not overlap.

    Args:
        tokenizer: of ``transformers``, or a function like one.
        text: tokenised once, as a whole.
        sequences: how many windows.
        length: tokens in each.
        batch: windows in a batch; the last may have fewer.

    Returns:
        ``{"input_ids": Int64[Tensor, "batch length"]}`` each. All windows are full, so there is no
        padding and no mask.

    Raises:
        InputError: the text has too few tokens; says how many it has.

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
    """The same from tokens, beginning with window number ``first``."""
    for name, value in {"sequences": sequences, "length": length, "batch": batch}.items():
        if value < 1:
            raise InputError(f"{name}={value}: windows of text need at least 1")
    there = len(ids) // length - first
    if there < sequences:
        after = f" after the {first} that are in use" if first else ""
        raise InputError(
            f"the text has {len(ids)} tokens, which make {max(there, 0)} windows of {length}{after}"
            f"; {sequences} were asked for: give a longer text, or fewer or shorter sequences"
        )
    rows = ids[first * length : (first + sequences) * length].view(sequences, length)
    return [{"input_ids": part} for part in rows.split(batch)]

"""Questions with answers to choose from, one JSON object a line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eckart.errors import InputError
from eckart.text import read_text

_FORMS = (
    "{'context', 'choices', 'gold'}, {'contexts', 'continuation', 'gold'} or "
    "{'context', 'continuation'}"
)


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes:
        pairs: context and continuation of every answer, whose likelihoods are compared.
        gold: which is right; None where the only continuation must be what the model would write.
    """

    pairs: tuple[tuple[str, str], ...]
    gold: int | None

    @property
    def lengths(self) -> list[int]:
        """Characters of the answers, without the blank that each begins with."""
        return [max(1, len(continuation.lstrip(" "))) for _, continuation in self.pairs]


def read_items(path: str | Path, most: int | None = None) -> list[Item]:
    """The items of a file, or the first of them.

    A line is one of: a context with choices and the index of the right one (ARC, PIQA, HellaSwag);
    several contexts with one continuation (WinoGrande); a context with its continuation (LAMBADA).

    Args:
        path: of a file of JSON lines. Every continuation begins with its blank.
        most: how many to read; None is all.

    Raises:
        InputError: the file cannot be read, or a line is none of these.
    """
    lines = [line for line in read_text(path).splitlines() if line.strip()][:most]
    return [_item(line, f"{path}, line {at}") for at, line in enumerate(lines, 1)]


def _item(line: str, place: str) -> Item:
    try:
        data: Any = json.loads(line)
        item = _of(data)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{place}: expected {_FORMS} ({type(error).__name__}: {error})") from error
    if not all(isinstance(text, str) and text for pair in item.pairs for text in pair):
        raise InputError(f"{place}: contexts and continuations must be texts that are not empty")
    if item.gold is not None and not 0 <= item.gold < len(item.pairs):
        raise InputError(f"{place}: gold is {item.gold}, of {len(item.pairs)} answers")
    return item


def _of(data: Any) -> Item:
    if "choices" in data:
        pairs = tuple((data["context"], choice) for choice in data["choices"])
        return Item(pairs, int(data["gold"]))
    if "contexts" in data:
        pairs = tuple((context, data["continuation"]) for context in data["contexts"])
        return Item(pairs, int(data["gold"]))
    return Item(((data["context"], data["continuation"]),), None)

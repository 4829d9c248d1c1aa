"""Shorter runs of tokens, where fewer say enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def fewer_tokens(inputs: Any, most: int) -> Any:
    """The first tokens of each sequence, where all of them count; other inputs as they are.

    Args:
        inputs: of a batch, a mapping with ``input_ids`` if it has tokens.
        most: tokens to keep.
    """
    length = tokens_in(inputs)
    if length is None or length <= most:
        return inputs
    return {name: value[:, :most] for name, value in inputs.items()}


def tokens_in(inputs: Any) -> int | None:
    """The length of the sequences; None if they cannot be cut."""
    ids = inputs.get("input_ids") if isinstance(inputs, Mapping) else None
    if not isinstance(ids, Tensor) or ids.dim() != 2:
        return None
    alike = all(isinstance(v, Tensor) and v.shape == ids.shape for v in inputs.values())
    mask = inputs.get("attention_mask")
    counted = mask is None or bool(mask.all())
    return ids.shape[1] if alike and counted else None

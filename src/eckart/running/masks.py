"""Which rows of a layer are padding, according to the masks in a batch.

A mask is recognised by its key: ``…attention_mask``, 2-D, where 1 marks a real token, or
``…key_padding_mask``, where True marks padding. It is matched to a layer's rows by shape alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

Masks = tuple[Bool[Tensor, "_batch _tokens"], ...]


def masks_of(inputs: Any) -> Masks:
    """The masks among a batch's inputs, True where a token is real.

    Args:
        inputs: a mapping; anything else has no masks. Masks with more than two axes are left out,
            because they say which token attends to which, not what is padding.
    """
    if not isinstance(inputs, Mapping):
        return ()
    found = []
    for key, mask in inputs.items():
        if not isinstance(mask, Tensor) or mask.dim() != 2:
            continue
        if str(key).endswith("attention_mask"):
            found.append(mask != 0)
        elif str(key).endswith("key_padding_mask"):
            padding = mask if mask.dtype == torch.bool else mask != 0  # additive: -inf
            found.append(~padding)
    return tuple(found)


def real_rows(masks: Masks, leading: Sequence[int]) -> Bool[Tensor, "rows"] | None:
    """Which of the vectors along a tensor's last axis are real; None where all count.

    A mask of shape (batch, tokens) is matched to the axes before the last. The first of these rules
    that fits decides:

    1. an axis of length batch and a later one of length tokens, the first such pair; along the
       other axes, such as heads, the mask is the same;
    2. an axis of length tokens and a later one of length batch;
    3. one axis of length batch · tokens, on which tokens run fastest.

    So if batch and tokens are equal, the batch is assumed to come first. No rule fits tensors with
    one row per example, or packed rows whose padding was removed before; all their rows count. If
    several masks fit, as with an encoder and a decoder of the same length, a row is padding only if
    all of them say so.

    Args:
        masks: from ``masks_of``.
        leading: lengths of the tensor's axes before the last.
    """
    laid = [rows for mask in masks if (rows := _laid(mask, leading)) is not None]
    if not laid:
        return None
    real = torch.stack(laid).any(0)
    return None if bool(real.all()) else real


def _laid(mask: Tensor, leading: Sequence[int]) -> Tensor | None:
    """The mask expanded to every row; None where it does not fit."""
    for grid in (mask, mask.T):
        axes = _axes(leading, *grid.shape)
        if axes is not None:
            shape = [length if at in axes else 1 for at, length in enumerate(leading)]
            return grid.reshape(shape).expand(*leading).flatten()
    if mask.numel() in leading:
        shape = [1] * len(leading)
        shape[list(leading).index(mask.numel())] = mask.numel()
        return mask.reshape(shape).expand(*leading).flatten()
    return None


def _axes(leading: Sequence[int], first: int, second: int) -> tuple[int, int] | None:
    """The first axis of length ``first`` and the first of length ``second`` after it."""
    for at, length in enumerate(leading):
        if length == first and second in leading[at + 1 :]:
            return at, list(leading).index(second, at + 1)
    return None


@dataclass
class Padding:
    """The masks of one batch. What they say of tensors of one shape is found out once.

    Attributes:
        masks: from ``masks_of``.
    """

    masks: Masks = ()
    _real: dict[tuple[int, ...], Tensor | None] = field(default_factory=dict)
    _places: dict[tuple[tuple[int, ...], torch.device], Tensor] = field(default_factory=dict)

    def real_rows(self, leading: Sequence[int]) -> Bool[Tensor, "rows"] | None:
        """See the function of that name."""
        shape = tuple(leading)
        if shape not in self._real:
            self._real[shape] = real_rows(self.masks, shape)
        return self._real[shape]

    def real_part(self, x: Tensor) -> Tensor:
        """The vectors along the last axis that are not padding; ``x`` itself where all count."""
        leading = tuple(x.shape[:-1])
        real = self.real_rows(leading)
        if real is None:
            return x
        if (leading, x.device) not in self._places:
            self._places[leading, x.device] = real.nonzero().flatten().to(x.device)
        return x.reshape(prod(leading), -1)[self._places[leading, x.device]]


def real_part(x: Tensor, masks: Masks) -> Tensor:
    """The vectors along the last axis that are not padding; ``x`` itself where all count."""
    return Padding(masks).real_part(x)

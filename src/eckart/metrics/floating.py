"""The floating tensors in a network's outputs, by path, and what else is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eckart.running.batches import named_parts

CACHES = {"past_key_values", "past_buckets_states", "cache", "cache_params", "mems"}
_INNER = ("hidden_states", "attentions", "encoder_last_hidden_state", "_model_output")
"""Ends of the names that ``transformers`` gives to what inner layers hand on."""

CACHE = "a cache"
HANDED_ON = "what inner layers hand on; name it in outputs= to include it"
EMPTY = "it is empty"
_NUMBER = "one number for the whole batch"


@dataclass(frozen=True)
class Floating:
    """What a network's outputs hold.

    A path is written as in Python: ``logits``, ``[0]``, ``decoder.boxes``; that of an output that
    is one tensor is empty. The items of a list with one entry per example share a path: ``[*]``.

    Attributes:
        values: the floating tensors that count, by path.
        inner: floating tensors that inner layers hand on; they count only where they are asked for.
        left_out: why each other part does not count, by path.
    """

    values: Mapping[str, tuple[Tensor, ...]]
    inner: Mapping[str, tuple[Tensor, ...]]
    left_out: Mapping[str, str]

    @property
    def paths(self) -> list[str]:
        """All paths."""
        return [*self.values, *self.inner, *self.left_out]


def floating(outputs: Any, examples: int | None = None, listed: bool = False) -> Floating:
    """Find the floating tensors in a network's outputs, in tuples, lists, mappings, dataclasses.

    Complex tensors are taken as pairs of real numbers. A tensor that holds the same numbers as one
    before it, such as a transpose, does not count twice.

    Args:
        outputs: what the network returned.
        examples: number of examples in the batch, if it is known.
        listed: whether the network's inputs are lists with one entry per example, so that a list of
            as many outputs is one too. A list of mappings always is.
    """
    values: dict[str, list[Tensor]] = {}
    inner: dict[str, list[Tensor]] = {}
    numbers: dict[str, list[Tensor]] = {}
    left_out: dict[str, str] = {}
    seen: dict[tuple[int, int], str] = {}
    for path, leaf in _leaves(outputs, "", examples if listed else None):
        reason = _reason(leaf, seen)
        if reason is None:
            seen[_place(leaf)] = path
            single = leaf.dim() == 0 and examples != 1
            found = numbers if single else inner if _is_inner(path) else values
            found.setdefault(path, []).append(_real(leaf))
        elif reason:
            left_out.setdefault(path, reason)
    if not values:
        values, inner = inner or numbers, {}
    left_out |= dict.fromkeys(numbers, _NUMBER)
    left_out = {k: v for k, v in left_out.items() if k not in values and k not in inner}
    return Floating(_fixed(values), _fixed(inner), left_out)


def _fixed(found: Mapping[str, list[Tensor]]) -> dict[str, tuple[Tensor, ...]]:
    return {path: tuple(tensors) for path, tensors in found.items()}


def _leaves(value: Any, path: str, listed: int | None) -> Iterator[tuple[str, Any]]:
    """Everything that is not a container, with its path; caches are not opened."""
    named = named_parts(value)
    if path.rpartition(".")[2] in CACHES:
        yield path, _Cache()
    elif named is not None:
        for key, item in named:
            yield from _leaves(item, f"{path}.{key}" if path else key, listed)
    elif isinstance(value, tuple | list):
        shared = _one_per_example(value, listed)
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{'*' if shared else index}]", listed)
    else:
        yield path, value


def _one_per_example(items: Any, listed: int | None) -> bool:
    if not isinstance(items, list) or not items:
        return False
    return listed == len(items) or all(isinstance(item, Mapping) for item in items)


class _Cache:
    """Stands for a cache."""


def _reason(leaf: Any, seen: Mapping[tuple[int, int], str]) -> str | None:
    """Why a part does not count; None if it does, and "" if it is nothing to speak of."""
    if isinstance(leaf, _Cache):
        return CACHE
    if not isinstance(leaf, Tensor):
        plain = leaf is None or isinstance(leaf, bool | int | float | str)
        return "" if plain else f"a {type(leaf).__name__}, which is not a tensor"
    if not leaf.is_floating_point() and not leaf.is_complex():
        return f"it holds {str(leaf.dtype).removeprefix('torch.')}"
    if leaf.numel() == 0:
        return EMPTY
    before = seen.get(_place(leaf))
    return None if before is None else f"the same numbers as {before or 'the output'}"


def _place(tensor: Tensor) -> tuple[int, int]:
    """Where its numbers are: equal for a tensor, its transposes and reshaped views."""
    return tensor.data_ptr(), tensor.numel()


def _real(tensor: Tensor) -> Tensor:
    tensor = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return tensor.reshape(1) if tensor.dim() == 0 else tensor


def _is_inner(path: str) -> bool:
    """Whether a part of the path has such a name."""
    names = path.replace("[", ".[").split(".")
    return any(name.endswith(_INNER) for name in names if not name.startswith("["))

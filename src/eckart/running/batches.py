"""What a batch is (inputs, or inputs and targets), and how a network is called with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from eckart.errors import InputError


def check_rereadable(batches: Any, what: str, often: str = "once per network") -> None:
    """Raise ``InputError`` if batches can be read only once, because ``what`` reads them often."""
    if isinstance(batches, Iterator):
        raise InputError(
            f"{what} reads its batches {often}, and this is an iterator that can be read only "
            "once: pass a list or a DataLoader"
        )


def inputs_of(batch: Any) -> Any:
    """The inputs of a batch: the first element of a pair, otherwise the batch itself."""
    return batch[0] if isinstance(batch, tuple | list) and len(batch) == 2 else batch


def call(model: nn.Module, inputs: Any) -> Any:
    """Run a network: a mapping goes in as keyword arguments, a tuple as positional ones."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, tuple | list):
        return call(model, inputs[0]) if len(inputs) == 1 else model(*inputs)
    return model(inputs)


def examples_in(inputs: Any) -> int:
    """Number of examples: the length of the first tensor's first axis.

    Raises:
        InputError: no tensor has an axis, or there is no example.
    """
    first = next((t for t in tensors_in(inputs) if t.dim() > 0), None)
    if first is None:
        raise InputError(
            f"found no tensor with a batch axis in a batch of type {type(inputs).__name__}: "
            "batches are tensors, tuples or dicts of tensors, or (inputs, targets)"
        )
    if len(first) == 0:
        raise InputError("a batch holds no example: drop empty batches from the loader")
    return len(first)


def first_examples(inputs: Any, most: int = 1) -> Any:
    """Detached copies of the inputs with at most ``most`` examples."""
    count = examples_in(inputs)

    def head(tensor: Tensor) -> Tensor:
        batched = tensor.dim() and len(tensor) == count
        return (tensor[:most] if batched else tensor).detach().clone()

    return mapped(inputs, head)


def some_examples(batch: Any, rows: list[int]) -> Any:
    """The same batch, inputs and targets, with only these examples."""
    count = examples_in(inputs_of(batch))

    def chosen(tensor: Tensor) -> Tensor:
        return tensor[rows] if tensor.dim() and len(tensor) == count else tensor

    return mapped(batch, chosen)


def repeated(batch: Any, copies: int) -> Any:
    """The batch repeated ``copies`` times along the axis of its examples."""
    count = examples_in(inputs_of(batch))
    return some_examples(batch, [*range(count)] * copies)


def moved(inputs: Any, like: nn.Module) -> Any:
    """Inputs on the device of a network's first parameter."""
    device = next((p.device for p in like.parameters()), None)
    return inputs if device is None else mapped(inputs, lambda tensor: tensor.to(device))


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A copy of the same structure in which ``change`` was applied to every tensor."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {k: mapped(v, change) for k, v in value.items()}
    if isinstance(value, tuple | list):
        items = [mapped(item, change) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    return value


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors of nested tuples, lists and mappings, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [t for item in value.values() for t in tensors_in(item)]
    if isinstance(value, tuple | list):
        return [t for item in value for t in tensors_in(item)]
    return []

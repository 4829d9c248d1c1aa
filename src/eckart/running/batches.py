"""What a batch is (inputs, or inputs and targets), and how a network is called with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.utils.rnn import PackedSequence

from eckart.errors import InputError
from eckart.running.objects import attributes, parameters_of, with_attributes, with_items
from eckart.running.signatures import most_positional, takes_keywords, takes_list

_CHANNELS = 4  # of an image, at most


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


def inputs_for(model: nn.Module, batch: Any) -> Any:
    """The inputs of a batch, as this network takes them.

    For a network whose first argument is a list of tensors, such as torchvision's detectors, the
    tensors become that list, and a batch of tensors alone is never a pair.
    """
    whole = takes_list(model) and _are_tensors(batch)
    return as_arguments(model, batch if whole else inputs_of(batch))


def batch_for(model: nn.Module, batch: Any) -> Any:
    """A batch whose inputs are as this network takes them; its targets, if any, stay."""
    inputs = inputs_for(model, batch)
    if not takes_list(model) or _are_tensors(batch) or inputs_of(batch) is batch:
        return inputs if takes_list(model) else batch
    return inputs, batch[1]


def as_arguments(model: nn.Module, inputs: Any) -> Any:
    """Inputs in which a list of examples is one argument, where the network takes such a list."""
    return ([*inputs],) if takes_list(model) and _are_tensors(inputs) else inputs


def call(model: nn.Module, inputs: Any) -> Any:
    """Run a network: a mapping goes in as keyword arguments, a tuple as positional ones."""
    args, kwargs = arguments_for(model, inputs)
    return model(*args, **kwargs)


def arguments_for(model: nn.Module, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and the keyword arguments with which inputs go into a network.

    A mapping is one argument if forward has no argument of the name of any key; a named tuple is
    one if forward does not take as many arguments as it has fields.
    """
    if isinstance(inputs, Mapping):
        return ((), {**inputs}) if takes_keywords(model, inputs) else ((inputs,), {})
    whole = _is_named(inputs) and most_positional(model) < len(inputs)
    if whole or isinstance(inputs, PackedSequence):
        return (inputs,), {}
    if isinstance(inputs, tuple | list):
        if takes_list(model) and _are_tensors(inputs):
            return ([*inputs],), {}
        if len(inputs) == 1 and not isinstance(inputs[0], list):
            return arguments_for(model, inputs[0])
        return tuple(inputs), {}
    return (inputs,), {}


def _is_named(value: Any) -> bool:
    """Whether it is a named tuple."""
    return isinstance(value, tuple) and hasattr(value, "_fields")


def examples_in(inputs: Any) -> int:
    """Number of examples: the length of the first tensor's first axis, or of a list of examples.

    Raises:
        InputError: no tensor has an axis, or there is no example.
    """
    first = next((n for item in _arguments(inputs) if (n := _count(item)) is not None), None)
    if first is None:
        raise InputError(
            f"found no tensor with a batch axis in a batch of type {type(inputs).__name__}: "
            "batches are tensors, tuples or dicts of tensors, or (inputs, targets)"
        )
    if first == 0:
        raise InputError("a batch holds no example: drop empty batches from the loader")
    return first


def first_examples(inputs: Any, most: int = 1) -> Any:
    """Detached copies of the inputs with at most ``most`` examples."""
    return detached(_chosen(inputs, slice(most), examples_in(inputs)))


def detached(inputs: Any) -> Any:
    """Detached copies of the inputs."""
    return mapped(inputs, lambda tensor: tensor.detach().clone())


def some_examples(batch: Any, rows: list[int]) -> Any:
    """The same batch, inputs and targets, with only these examples."""
    inputs = inputs_of(batch)
    count = examples_in(inputs)
    chosen = _chosen(inputs, rows, count)
    if inputs is batch:
        return chosen
    pair = (chosen, _chosen(batch[1], rows, count, inside=True))
    return pair if isinstance(batch, tuple) else list(pair)


def repeated(batch: Any, copies: int) -> Any:
    """The batch repeated ``copies`` times along the axis of its examples."""
    if copies == 1:
        return batch
    count = examples_in(inputs_of(batch))
    return some_examples(batch, [*range(count)] * copies)


def batch_of(example: Any, count: int) -> Any:
    """A batch of ``count`` examples that are copies of one, or of a few that run together.

    Raises:
        InputError: the number of examples that run together does not divide ``count``.
    """
    together = examples_in(inputs_of(example))
    if count % together:
        raise InputError(
            f"batch={count}: the network runs on {together} examples at once, so give a multiple"
        )
    return repeated(example, count // together)


def _chosen(value: Any, rows: slice | list[int], count: int, inside: bool = False) -> Any:
    """Some of ``count`` examples; what has none of its own stays as it is.

    Args:
        value: inputs, or if ``inside`` one argument among them.
        rows: which examples.
        count: number of examples.
        inside: whether a list may have one entry per example, not one per argument.
    """
    if isinstance(value, Tensor):
        own = value.dim() > 0 and len(value) == count and value.layout == torch.strided
        return value[rows] if own else value
    if isinstance(value, Mapping):
        return {k: _chosen(v, rows, count, inside=True) for k, v in value.items()}
    if isinstance(value, PackedSequence):
        return value
    if not isinstance(value, tuple | list):
        found = {k: _chosen(v, rows, count, True) for k, v in attributes(value).items()}
        return with_attributes(value, found) if found else value
    if inside and len(value) == count and _one_per_example(value):
        items = value[rows] if isinstance(rows, slice) else [value[row] for row in rows]
    else:
        items = [_chosen(item, rows, count, inside=True) for item in value]
    return _alike(value, [*items])


def _alike(value: tuple[Any, ...] | list[Any], items: list[Any]) -> Any:
    """Other items in a list, tuple or named tuple of the same class."""
    if not isinstance(value, tuple):
        return items
    return type(value)(*items) if _is_named(value) else tuple(items)


def _arguments(inputs: Any) -> Iterable[Any]:
    if isinstance(inputs, Mapping):
        return inputs.values()
    several = isinstance(inputs, tuple | list) and not isinstance(inputs, PackedSequence)
    return inputs if several else attributes(inputs).values() or (inputs,)


def _count(value: Any) -> int | None:
    """Number of examples in one argument; None where it shows none."""
    if isinstance(value, Tensor):
        return len(value) if value.dim() else None
    if isinstance(value, PackedSequence):
        return int(value.batch_sizes[0])
    if isinstance(value, tuple | list) and _one_per_example(value):
        return len(value)
    if isinstance(value, Mapping | tuple | list) or attributes(value):
        return next((n for item in _arguments(value) if (n := _count(item)) is not None), None)
    return None


def _one_per_example(items: tuple[Any, ...] | list[Any]) -> bool:
    """Whether a sequence inside the inputs has one entry per example, not one per kind of data.

    Mappings are: the targets of a detector. Tensors in a list are if their first axes differ, or if
    they are images: up to four channels, height and width.
    """
    if items and all(isinstance(item, Mapping) for item in items):
        return True
    if not isinstance(items, list) or not _are_tensors(items) or any(t.dim() == 0 for t in items):
        return False
    images = all(t.dim() == 3 and len(t) <= _CHANNELS for t in items)
    return images or len({len(t) for t in items}) > 1


def _are_tensors(value: Any) -> bool:
    sequence = isinstance(value, tuple | list) and len(value) > 0
    return sequence and all(isinstance(item, Tensor) for item in value)


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
    if isinstance(value, PackedSequence):
        return value._replace(data=change(value.data))  # its lengths stay on the CPU
    if isinstance(value, tuple | list):
        return _alike(value, [mapped(item, change) for item in value])
    found = {name: _mapped_inside(item, change) for name, item in attributes(value).items()}
    return with_attributes(value, found) if found else value


def _mapped_inside(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same in an object, where a mapping keeps its class."""
    made = mapped(value, change)
    own = isinstance(value, Mapping) and not isinstance(value, dict)
    return with_items(value, made) if own else made


def named_parts(value: Any) -> list[tuple[str, Any]] | None:
    """The parts of a mapping, named tuple, dataclass, namespace or distribution; or None."""
    if isinstance(value, Mapping):
        return [(str(key), item) for key, item in value.items()]
    if _is_named(value):
        return [*zip(value._fields, value, strict=True)]
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, Distribution):
        return [*parameters_of(value).items()]
    return [*vars(value).items()] if isinstance(value, SimpleNamespace) else None


def tensors_in(value: Any, objects: bool = False) -> list[Tensor]:
    """All tensors of nested tuples, lists and values with named parts, in order.

    Args:
        value: inputs or outputs.
        objects: whether to look into objects of any class: inputs may be such, and in outputs they
            are caches.
    """
    if isinstance(value, Tensor):
        return [value]
    named = named_parts(value)
    if named is None and objects:
        named = [*attributes(value).items()] or None
    if named is not None:
        return [t for _, item in named for t in tensors_in(item, objects)]
    if isinstance(value, tuple | list):
        return [t for item in value for t in tensors_in(item, objects)]
    return []

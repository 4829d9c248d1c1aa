"""What a form costs: parameters, multiply-adds, bytes. A new cost is a function, registered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from eckart.errors import InputError
from eckart.records import Form, LayerSpec


@dataclass(frozen=True)
class Cost:
    """A named cost of a form that replaces a layer.

    Attributes:
        name: the name used in budgets.
        unit: unit of the values.
        of: ``of(spec, form) -> int``; the costs of layers add up.
    """

    name: str
    unit: str
    of: Callable[[LayerSpec, Form], int]


COSTS: dict[str, Cost] = {}


def register_cost(cost: Cost) -> None:
    """Make a cost known to budgets; it replaces an earlier one of the same name."""
    COSTS[cost.name] = cost


def cost_named(name: str) -> Cost:
    """The cost of that name; the error for an unknown name lists the known ones."""
    if name not in COSTS:
        raise InputError(f"unknown cost {name!r}; known: {', '.join(sorted(COSTS))}")
    return COSTS[name]


def params(spec: LayerSpec, form: Form) -> int:
    """Number of weights and biases."""
    return form.params


def macs(spec: LayerSpec, form: Form) -> int:
    """Multiply-adds of all calls of the layer for one example; adding the bias is free."""
    return spec.macs(form)


def stored_bytes(spec: LayerSpec, form: Form) -> int:
    """Bytes of weights and biases: in the layer's dtype, or codes and scales."""
    return form.stored_bytes(spec.itemsize)


register_cost(Cost("params", "parameters", params))
register_cost(Cost("macs", "multiply-adds per example", macs))
register_cost(Cost("bytes", "bytes", stored_bytes))

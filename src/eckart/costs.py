"""What a form costs: parameters, multiply-adds, bytes. A new cost is a function, registered.

Milliseconds are not registered: they belong to one network on one runtime, so curves carry them,
and ``costs_of`` finds them there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from eckart.errors import InputError
from eckart.records import Curves, Form, LayerSpec
from eckart.records.budgets import MS


@dataclass(frozen=True)
class Cost:
    """A named cost of a form that replaces a layer.

    Attributes:
        name: the name used in budgets.
        unit: unit of the values.
        of: ``of(spec, form)``; the costs of layers add up.
        counted: whether the values are whole numbers; a fraction of a total is then rounded down.
        told_by: whether any of some layers has this cost; a network without one does not have it.
    """

    name: str
    unit: str
    of: Callable[[LayerSpec, Form], float]
    counted: bool = True
    told_by: Callable[[LayerSpec], bool] = lambda _: True


COSTS: dict[str, Cost] = {}


def register_cost(cost: Cost) -> None:
    """Make a cost known to budgets; it replaces an earlier one of the same name."""
    COSTS[cost.name] = cost


def cost_named(name: str) -> Cost:
    """The cost of that name; the error for an unknown name lists the known ones."""
    if name not in COSTS:
        raise InputError(f"unknown cost {name!r}; known: {', '.join(sorted(COSTS))}")
    return COSTS[name]


def costs_told_by(specs: Iterable[LayerSpec]) -> dict[str, Cost]:
    """The registered costs that a network of these layers has."""
    layers = list(specs)
    return {
        name: cost for name, cost in COSTS.items() if not layers or any(map(cost.told_by, layers))
    }


def costs_of(curves: Curves) -> Mapping[str, Cost]:
    """All costs that these curves know: those they have totals of, and ``ms`` with timings."""
    found = {name: cost for name, cost in COSTS.items() if name in curves.totals}
    if curves.timings is None:
        return found
    return {**found, MS: Cost(MS, "milliseconds", curves.timings.ms, counted=False)}


def cost_in(curves: Curves, name: str) -> Cost:
    """The cost of that name.

    Raises:
        InputError: it is unknown, needs timings that the curves do not have, or no layer has it.
    """
    if name == MS and curves.timings is None:
        raise InputError(
            "a budget in milliseconds needs timings: make them with eckart.profile(model, moments, "
            "runtime=…), and pass timings="
        )
    costs = costs_of(curves)
    if name in COSTS and name not in costs:
        raise InputError(
            f"no layer of this network has {COSTS[name].unit} of its own, or {name} was registered "
            f"after the curves were made: limit another cost than {name}, or make them again; "
            f"known: {', '.join(sorted(costs))}"
        )
    return costs[name] if name in costs else cost_named(name)


def params(spec: LayerSpec, form: Form) -> int:
    """Number of weights and biases."""
    return form.params


def active_params(spec: LayerSpec, form: Form) -> float:
    """Parameters that one token uses, on average over the experts that it may be sent to."""
    return form.params * spec.share


def macs(spec: LayerSpec, form: Form) -> int:
    """Multiply-adds of all calls of the layer for one example; adding the bias is free."""
    return spec.macs(form)


def stored_bytes(spec: LayerSpec, form: Form) -> int:
    """Bytes of weights and biases: in the layer's dtype, or codes and scales."""
    return form.stored_bytes(spec.itemsize)


register_cost(Cost("params", "parameters", params))
register_cost(
    Cost("active_params", "parameters per token", active_params, False, lambda s: s.share < 1)
)
register_cost(Cost("macs", "multiply-adds per example", macs))
register_cost(Cost("bytes", "bytes", stored_bytes))

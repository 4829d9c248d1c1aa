"""Turn what was chosen into a plan: forms, removals, reasons and costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from eckart.costs import costs_of
from eckart.records import Budget, Choice, Curves, Option, Plan, Removal
from eckart.records.plans import predicted
from eckart.stages.allocate.table import Kept, Menu


def planned(
    curves: Curves, chosen: Menu, budget: Budget | None = None, bound: float | None = None
) -> Plan:
    """The plan that takes one option per layer and one size per group.

    Args:
        curves: the curves that it was chosen from.
        chosen: an option per layer, in the order of the curves, and a size per group.
        budget: the budget that it was chosen for, if any.
        bound: lower bound on the loss of all choices; None if no other choice has less loss.
    """
    choices, dense = _choices(curves, [each for each in chosen if isinstance(each, Option)])
    removals = _removals(each for each in chosen if isinstance(each, Kept))
    loss = predicted(choices, removals)
    return Plan(
        choices=choices,
        dense=dense,
        loss=loss,
        costs=_costs(curves, choices, removals),
        totals=curves.totals,
        fingerprint=curves.fingerprint,
        damping=curves.damping,
        shrunk=dict(curves.shrunk),
        scarce={name: why for name, why in curves.scarce.items() if name in choices},
        budget=budget,
        moments=curves.moments,
        removals=removals,
        whole=dict(curves.whole),
        bound=loss if bound is None else min(bound, loss),
        states=curves.states,
        notes=dict(curves.notes),
        offered=dict(curves.offered.methods),
        withheld=dict(curves.offered.withheld),
        unreached={cost: value for cost, value in curves.unreached.items() if value},
    )


def _choices(curves: Curves, options: Iterable[Option]) -> tuple[dict[str, Choice], dict[str, str]]:
    """The layers that change, and the reason for each layer that does not."""
    choices, reasons = dict[str, Choice](), dict(curves.dense)
    for curve, option in zip(curves.curves, options, strict=True):
        name = curve.site.name
        if option.form != curves.specs[name].dense:
            choices[name] = Choice(option.method, option.form, option.loss)
            reasons.pop(name, None)
            continue
        alone = len(curve.options) == 1
        why = "no option is cheaper than dense" if alone else "dense is best here"
        reasons.setdefault(name, why)
    return choices, reasons


def _removals(kept: Iterable[Kept]) -> dict[str, Removal]:
    """The groups that lose units."""
    return {
        curve.group.name: Removal(
            group=curve.group, method=curve.method, kept=curve.kept(size), loss=curve.losses[size]
        )
        for curve, size in kept
        if size < curve.group.size
    }


def _costs(
    curves: Curves, choices: Mapping[str, Choice], removals: Mapping[str, Removal]
) -> dict[str, float]:
    """The costs of the whole network, by name of the cost."""
    known, costs = costs_of(curves), dict(curves.totals)
    for name, choice in choices.items():
        spec = curves.specs[name]
        for cost in costs:
            of = known[cost].of
            costs[cost] += of(spec, choice.form) - of(spec, spec.dense)
    for curve in curves.groups:
        if curve.group.name in removals:
            for cost, units in curve.costs.items():
                costs[cost] -= sum(units[unit] for unit in removals[curve.group.name].removed)
    return costs

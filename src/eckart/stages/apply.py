"""Plan to smaller network."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from eckart.costs import COSTS
from eckart.coupling import without_units
from eckart.errors import MismatchError
from eckart.layers import bias_of, filled, piece_of, rebuild
from eckart.methods import (
    Problem,
    heirs,
    methods_named,
    narrowed_problem,
    problem_of,
    reading_of,
)
from eckart.provenance import attach_plan
from eckart.records import Form, Moments, Plan
from eckart.replacing import copied, installed
from eckart.tracing import check_same_network


def apply(model: nn.Module, plan: Plan, moments: Moments, *, inplace: bool = False) -> nn.Module:
    """Replace the layers as the plan says.

    One forward pass on the example input follows. A layer whose replacement breaks it (some
    modules read ``child.weight`` directly) is restored, warned of, and listed in the plan that the
    network carries as ``eckart_plan``.

    Args:
        model: the dense network.
        plan: from ``allocate``.
        moments: those that the plan's losses were predicted from.
        inplace: change ``model`` itself instead of a copy.

    Returns:
        The smaller network, in the mode, dtype and device of the dense one.

    Raises:
        MismatchError: plan, moments and network do not belong together.

    Cost: one decomposition per replaced layer, and one forward pass.
    """
    check_same_network(model, plan.fingerprint, "this plan")
    check_same_network(model, moments.fingerprint, "these moments")
    if plan.moments and plan.moments != moments.digest:
        raise MismatchError(
            "the plan's losses were predicted from other moments of this network: apply it with "
            "those, or allocate anew"
        )
    unknown = sorted(set(plan.choices) - set(moments.specs))
    if unknown:
        raise MismatchError(f"the plan names layers without moments: {', '.join(unknown)}")
    narrow = {name: _narrow(model, name, plan, moments) for name in plan.choices}
    smaller = model if inplace else copied(model)
    without_units(smaller, [(r.group, r.kept) for r in plan.removals.values()])
    groups = [removal.group for removal in plan.removals.values()]
    built, touched = {}, {name for group in groups for name in {**group.writers, **group.readers}}
    for name, choice in plan.choices.items():
        module, problem = smaller.get_submodule(name), narrow[name]
        if not choice.form.is_plain:
            (method,) = methods_named([choice.method])
            built[name] = rebuild(module, choice.form, method.build(problem, choice.form))
        if name in touched:
            fitted = filled(module, piece_of(module), problem.weight, bias_of(module))
            smaller.set_submodule(name, fitted)  # its weights make up for the channels it read
    broken = installed(smaller, built, moments.example)
    if broken:
        plan = _without(plan, broken, smaller, moments)
    return attach_plan(smaller, plan)


def _narrow(model: nn.Module, name: str, plan: Plan, moments: Moments) -> Problem:
    """A layer's problem at the width that the plan leaves it."""

    def problem(layer: str) -> Problem:
        return problem_of(model.get_submodule(layer), layer, moments, plan.damping)

    own = problem(name)
    piece, outputs, columns = own.piece, None, None
    for removal in plan.removals.values():
        group, kept = removal.group, removal.kept
        if name in group.readers:
            columns = group.columns_left(name, kept, piece.inputs)
        if name in group.writers:
            readings = [reading_of(problem(reader), group, reader) for reader in group.readers]
            outputs = heirs(group, name, readings, kept, piece.outputs)
    return narrowed_problem(own, outputs, columns)


def _without(plan: Plan, broken: Mapping[str, str], smaller: nn.Module, moments: Moments) -> Plan:
    costs, narrow = dict(plan.costs), {}
    for name in broken:
        spec, form = moments.specs[name], Form((piece_of(smaller.get_submodule(name)),))
        if form != spec.dense:
            narrow[name] = form
        for metric in costs:
            of = COSTS[metric].of
            costs[metric] += of(spec, form) - of(spec, plan.choices[name].form)
    return plan.without(broken, narrow, costs)

"""Plan to smaller network."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from eckart.costs import COSTS
from eckart.errors import MismatchError
from eckart.layers import bias_of, filled, piece_of, rebuild, weight_of
from eckart.methods import (
    Problem,
    heirs,
    methods_named,
    narrowed_problem,
    problem_of,
    reading_of,
)
from eckart.moments import Moments
from eckart.network.identity import check_fingerprint, fingerprint
from eckart.network.plan_attribute import attach_plan
from eckart.network.removal import without_units
from eckart.network.replacing import copied, installed
from eckart.records import Form, Plan


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

    Cost: one decomposition per replaced layer, none where it is remembered in a workspace, and one
        forward pass. In memory, beside the network, the smaller one, in which only what is not
        factored is copied.
    """
    found = fingerprint(model)
    check_fingerprint(found, plan.fingerprint, "this plan")
    check_fingerprint(found, moments.fingerprint, "these moments")
    if plan.moments and plan.moments != moments.digest:
        raise MismatchError(
            "the plan's losses were predicted from other moments of this network: apply it with "
            "those, or allocate anew"
        )
    unknown = sorted(set(plan.choices) - set(moments.specs))
    if unknown:
        raise MismatchError(f"the plan names layers without moments: {', '.join(unknown)}")
    groups = [removal.group for removal in plan.removals.values()]
    touched = {name for group in groups for name in {**group.writers, **group.readers}}
    weights = {n: _weights(model, n, plan, moments, n in touched) for n in plan.choices}
    alone = [n for n, (_, factors) in weights.items() if factors and n not in touched]
    replaced = [model.get_submodule(name) for name in alone]
    smaller = model if inplace else copied(model, sharing=replaced)
    without_units(smaller, [(r.group, r.kept) for r in plan.removals.values()])
    built = {}
    for name, choice in plan.choices.items():
        module, (plain, factors) = smaller.get_submodule(name), weights.pop(name)
        if factors:
            built[name] = rebuild(module, choice.form, factors)
        if plain is not None:  # its weights make up for the channels it read
            fitted = filled(module, piece_of(module), plain, bias_of(module))
            smaller.set_submodule(name, fitted)
    broken = installed(smaller, built, moments.example)
    if not inplace:
        for name in broken.keys() & set(alone):
            smaller.set_submodule(name, copied(smaller.get_submodule(name)))
    if broken:
        plan = _without(plan, broken, smaller, moments)
    return attach_plan(smaller, plan)


def _weights(
    model: nn.Module, name: str, plan: Plan, moments: Moments, touched: bool
) -> tuple[Tensor | None, list[Tensor]]:
    """A layer's weight, where channels around it go, and its factors, if it gets some."""
    form, problem = plan.choices[name].form, _narrow(model, name, plan, moments)
    factors: list[Tensor] = []
    if not form.is_plain:
        (method,) = methods_named([plan.choices[name].method])
        factors = method.build(problem, form)
    dtype = weight_of(model.get_submodule(name)).dtype
    plain = problem.weight.to(dtype) if touched else None
    return plain, [factor.to(dtype) for factor in factors]


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
        for cost in costs:
            of = COSTS[cost].of
            costs[cost] += of(spec, form) - of(spec, plan.choices[name].form)
    return plan.without(broken, narrow, costs)

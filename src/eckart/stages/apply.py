"""Plan to smaller network."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from eckart.batches import call, moved
from eckart.costs import COSTS
from eckart.coupling import without_units
from eckart.errors import InputError, LeftDenseWarning, MismatchError
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
from eckart.tracing import check_same_network
from eckart.watch import untouched


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
    broken = _installed(smaller, built, moments.example)
    if broken:
        plan = _without(plan, broken, smaller, moments)
        listed = "; ".join(f"{name}: {why}" for name, why in broken.items())
        warnings.warn(f"left dense after all: {listed}", LeftDenseWarning, stacklevel=2)
    return attach_plan(smaller, plan)


def copied(model: nn.Module) -> nn.Module:
    """A deep copy.

    Raises:
        InputError: the network has none.
    """
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"this network cannot be copied ({error!s:.120}); pass inplace=True to change it itself"
        ) from error


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


def _installed(model: nn.Module, built: Mapping[str, nn.Module], example: Any) -> dict[str, str]:
    """Put the modules in; those that the network does not run with are taken out, with reason."""
    dense = {name: model.get_submodule(name) for name in built}
    for name, module in built.items():
        model.set_submodule(name, module)
    if _failure(model, example) is None:
        return {}
    for name, module in dense.items():
        model.set_submodule(name, module)
    broken = {}
    for name, module in built.items():
        model.set_submodule(name, module)
        failure = _failure(model, example)
        if failure is not None:
            model.set_submodule(name, dense[name])
            broken[name] = f"the network does not run with it replaced ({failure:.120})"
    return broken


def _failure(model: nn.Module, example: Any) -> str | None:
    """What goes wrong in a forward pass, or None."""
    with untouched(model), torch.no_grad():
        try:
            call(model, moved(example, model))
        except Exception as error:  # whatever the network raises is the finding
            return f"{type(error).__name__}: {error}"
    return None


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

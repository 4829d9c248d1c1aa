"""Put the built weights into the network; layers with which it does not run stay dense."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from eckart.costs import COSTS
from eckart.layers import bias_of, filled, piece_of, rebuild, weight_from
from eckart.moments import Moments
from eckart.network.opening import Opening
from eckart.network.removal import without_units
from eckart.network.replacing import copied, installed
from eckart.records import Form, Plan, States
from eckart.stages.apply.built import Weights


def put_in(
    model: nn.Module, plan: Plan, weights: dict[str, Weights], moments: Moments, *, inplace: bool
) -> tuple[nn.Module, Plan]:
    """The smaller network, and the plan as it was done. Empties ``weights`` to save memory.

    Warns:
        LeftDenseWarning: the network does not run with some layers replaced; they are restored.
    """
    opening = Opening.of(model, plan.changed)
    alone = [name for name, w in weights.items() if w.factors and w.plain is None]
    alone = [name for name in alone if not opening.holds(name)]
    smaller = opening.carried_out(inplace, sharing=[model.get_submodule(n) for n in alone])
    without_units(smaller, [(r.group, r.kept) for r in plan.removals.values()])
    modules = {}
    for name in list(weights):
        module, found = smaller.get_submodule(name), weights.pop(name)
        if found.factors:
            modules[name] = rebuild(module, plan.choices[name].form, found.factors)
        if found.plain is not None:
            piece = piece_of(module)
            plain = weight_from(found.plain, piece)
            fitted = filled(module, piece, plain, bias_of(module))
            smaller.set_submodule(name, fitted)
    broken = installed(smaller, modules, moments.example, stacklevel=5)
    if not inplace:
        for name in broken.keys() & set(alone):
            smaller.set_submodule(name, copied(smaller.get_submodule(name)))
    done = _without(plan, broken, smaller, moments) if broken else plan
    opening.undone(smaller, plan.changed - broken.keys(), inplace)
    return smaller, replace(done, states=States())


def _without(plan: Plan, broken: Mapping[str, str], smaller: nn.Module, moments: Moments) -> Plan:
    """The plan with these layers not factored, at the width that they now have."""
    costs = {name: value for name, value in plan.costs.items() if name in COSTS}  # ms: not known
    narrow = {}
    for name in broken:
        spec, form = moments.specs[name], Form((piece_of(smaller.get_submodule(name)),))
        if form != spec.dense:
            narrow[name] = form
        for cost in costs:
            of = COSTS[cost].of
            costs[cost] += of(spec, form) - of(spec, plan.choices[name].form)
    return plan.without(broken, narrow, costs)

"""The plan that a smaller network carries as a record of what was done."""

from __future__ import annotations

from torch import nn

from eckart.records import Plan

_ATTRIBUTE = "eckart_plan"


def attach_plan(model: nn.Module, plan: Plan | None) -> nn.Module:
    """Store a plan in the network's attribute ``eckart_plan``; None removes it."""
    if plan is not None:
        setattr(model, _ATTRIBUTE, plan)
    elif hasattr(model, _ATTRIBUTE):
        delattr(model, _ATTRIBUTE)
    return model


def plan_of(model: nn.Module) -> Plan | None:
    """The plan that a network carries, if any."""
    plan = getattr(model, _ATTRIBUTE, None)
    return plan if isinstance(plan, Plan) else None

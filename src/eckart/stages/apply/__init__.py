"""Plan to smaller network: checked, built, installed."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from eckart.methods import Cache
from eckart.moments import Moments
from eckart.network.plan_attribute import attach_plan
from eckart.network.wrappers import trainable, unwrapped
from eckart.records import Plan
from eckart.stages.apply.built import weights_of
from eckart.stages.apply.checked import check_fits
from eckart.stages.apply.installed import put_in


@dataclass(frozen=True)
class Applied:
    """What became of a network.

    Attributes:
        model: the smaller network.
        plan: as it was done: without what had to stay dense after all.
    """

    model: nn.Module
    plan: Plan


def apply(model: nn.Module, plan: Plan, moments: Moments, *, inplace: bool = False) -> nn.Module:
    """Replace the layers as the plan says.

    One forward pass on the example input follows. A layer whose replacement breaks it (some
    modules read ``child.weight`` directly) is restored; a warning names it, and the plan that the
    network carries as ``eckart_plan`` lists it.

    Args:
        model: the dense network; of one inside ``torch.compile`` or ``DataParallel``, that.
        plan: from ``allocate``, or read from JSON, which gives the same network.
        moments: those that the plan's losses were predicted from.
        inplace: change ``model`` itself instead of a copy.

    Returns:
        The smaller network, in the mode, dtype and device of the dense one.

    Raises:
        MismatchError: plan, moments and network do not belong together.

    Cost: one forward pass. One decomposition for each factored layer that loses channels as well,
        or whose state is neither in the plan nor in a workspace. In memory, beside the network, the
        smaller one, in which only what is not factored is copied.
    """
    return applied(model, plan, moments, inplace=inplace).model


def applied(
    model: nn.Module,
    plan: Plan,
    moments: Moments,
    cache: Cache | None = None,
    *,
    inplace: bool = False,
) -> Applied:
    """As ``apply``, with the plan as it was done, for those who go on from here.

    States are looked up and kept in the cache; without one, in the plan and in the workspace.
    """
    model = unwrapped(model) if inplace else trainable(unwrapped(model))
    check_fits(model, plan, moments)
    weights = weights_of(model, plan, moments, cache or Cache.beside(moments, plan.states))
    smaller, done = put_in(model, plan, weights, moments, inplace=inplace)
    return Applied(attach_plan(smaller, done), done)

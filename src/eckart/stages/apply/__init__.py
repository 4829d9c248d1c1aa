"""Turn a plan into the smaller network: check, build, install."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import nn

from eckart.methods import Cache
from eckart.moments import Moments
from eckart.network.plan_attribute import attach_plan
from eckart.network.twins import opened
from eckart.network.wrappers import network_in, unwrapped
from eckart.records import Plan
from eckart.running.arguments import check_kind
from eckart.stages.apply.built import Weights, weights_of
from eckart.stages.apply.checked import check_fits
from eckart.stages.apply.installed import put_in
from eckart.stages.apply.rounded import round_activations
from eckart.stages.apply.sized import Sizes


@dataclass(frozen=True)
class Applied:
    """The result of applying a plan.

    Attributes:
        model: the smaller network.
        plan: the plan as it was done, without layers that had to stay dense after all.
    """

    model: nn.Module
    plan: Plan


def apply(model: nn.Module, plan: Plan, moments: Moments, *, inplace: bool = False) -> nn.Module:
    """Replace the layers as the plan says.

    The factors that methods offered for every size are refined for the size that was chosen: some
    steps of a search on the layer's own ``½ tr(G ΔW A ΔWᵀ)``, for the methods that can (``spatial``
    and ``cp``). The plan that the network carries has the losses after that as ``refined``.

    The weights of convolutions are then multiplied so that the mean square of each layer's outputs
    stays, if on the sample that the moments keep the outputs of the network change less with that,
    in the metric of the calibration. The plan has the factors as ``scaled``.

    Then the network runs once on the example input. If the replacement of a layer breaks this pass
    (some modules read ``child.weight`` directly), the layer is restored. A warning names it, and so
    does the plan that the network carries as ``eckart_plan``.

    Args:
        model: the dense network. Wrappers by ``torch.compile`` or ``DataParallel`` are left out.
        plan: from ``allocate``, or read from JSON, which gives the same network.
        moments: the moments from which the plan's losses were predicted.
        inplace: change ``model`` itself, or the network inside the wrappers, instead of a copy.

    Returns:
        The smaller network without wrappers, in the mode, dtype and device of the dense one.

    Raises:
        MismatchError: plan, moments and network do not belong together.

    Cost: forward passes of up to 64 examples, the refinement (see ``separable_refined`` and
        ``canonical_refined`` in ``eckart.linalg``), and one decomposition per factored layer that
        loses channels as well or whose state is neither in the plan nor in a workspace. Memory for
        the smaller network beside the dense one; weights that factors replace are not copied.
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
    """As ``apply``, but also returns the plan as it was done.

    States are looked up and kept in the cache, or without one in the plan and the workspace.
    """
    model = unwrapped(model) if inplace else network_in(model)
    check_kind("plan", plan, Plan)
    check_kind("moments", moments, Moments)
    whole = opened(model)
    check_fits(model, whole, plan, moments)
    weights = weights_of(whole, plan, moments, cache or Cache.beside(moments, plan.states))
    losses, sizes = _refined(plan, weights), Sizes.of(model, whole, plan, moments)
    weighing = {name: w.weighing for name, w in weights.items() if w.weighing is not None}
    smaller, done = put_in(model, plan, weights, moments, inplace=inplace)
    done = replace(done, refined={k: v for k, v in losses.items() if k not in done.dense})
    done = sizes.kept(smaller, done, moments)
    round_activations(smaller, weighing, moments.sample)  # in the ranges of what is final
    return Applied(attach_plan(smaller, done), done)


def refined(model: nn.Module, plan: Plan, moments: Moments, cache: Cache) -> Plan:
    """The plan with the losses that refined factors leave, without making the network.

    The cache keeps the factors, so ``applied`` need not refine them again.
    """
    whole = opened(network_in(model))
    check_fits(network_in(model), whole, plan, moments)
    return replace(plan, refined=_refined(plan, weights_of(whole, plan, moments, cache)))


def _refined(plan: Plan, weights: Mapping[str, Weights]) -> dict[str, float]:
    """The losses of the layers that got factors."""
    return {name: plan.choices[name].loss * w.share for name, w in weights.items() if w.factors}

"""Choose, refine, and choose once more with what was learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import median

from eckart.records import Choice, Curves, Plan
from eckart.records.curves import family
from eckart.records.plans import predicted

_LEARNED = 0.01  # a share of the predicted loss that is as close to 1 teaches nothing


def refined_twice(
    options: Curves, choose: Callable[[Curves], Plan], refine: Callable[[Plan], Plan]
) -> Plan:
    """The better of two plans: by predicted losses, and by losses as refinement leaves them.

    Refining the factors of the first plan lowers their losses by a share that differs from layer to
    layer and from method to method, and codes of factors lose more or less than was expected. Where
    it was not tried, the median of the method is assumed, with codes and without them apart. Codes
    of whole layers lose about what was expected, so nothing is learned from them.
    The second plan is chosen under losses multiplied by these shares, and refined as well.

    Args:
        options: what to choose from.
        choose: a plan from options.
        refine: the plan with the losses of its refined factors.

    Returns:
        The plan of less loss after refinement. Its choices have the losses that were predicted.
    """
    first = refine(choose(options))
    shares = _shares(options, first)
    if not shares:
        return first
    second = _as_predicted(choose(options.learned(shares)), options, first.bound)
    if second.choices == first.choices and second.removals == first.removals:
        return first
    return min(first, refine(second), key=lambda plan: plan.refined_loss)


def _shares(options: Curves, plan: Plan) -> dict[tuple[str, str], float]:
    """By layer and family, the share of the predicted loss that is left."""
    tried = {
        (name, family(choice.method, choice.form)): plan.refined[name] / choice.loss
        for name, choice in plan.choices.items()
        if name in plan.refined and choice.loss > 0 and len(choice.form.pieces) > 1
    }
    usual = {kind: median(s for (_, k), s in tried.items() if k == kind) for _, kind in tried}
    usual = {kind: share for kind, share in usual.items() if abs(share - 1) > _LEARNED}
    sites = [curve.site.name for curve in options.curves]
    assumed = {(site, kind): share for site in sites for kind, share in usual.items()}
    return assumed | {key: share for key, share in tried.items() if key in assumed}


def _as_predicted(plan: Plan, options: Curves, bound: float) -> Plan:
    """The plan with the losses that the curves predicted."""
    losses = {
        (curve.site.name, option.method, option.form): option.loss
        for curve in options.curves
        if curve.site.name in plan.choices
        for option in curve.options
    }
    choices = {
        name: Choice(choice.method, choice.form, losses[name, choice.method, choice.form])
        for name, choice in plan.choices.items()
    }
    loss = predicted(choices, plan.removals)
    return replace(plan, choices=choices, loss=loss, bound=min(bound, loss))

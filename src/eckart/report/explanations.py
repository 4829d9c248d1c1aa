"""What the page says in plain words about each method it shows."""

from __future__ import annotations

from collections.abc import Iterable

from eckart.records import Curves, Frontier, Plan
from eckart.records.plans import NARROWED
from eckart.report.selection import MAIN

LOSS_SENTENCE = (
    "Half the squared change of the network’s outputs that is expected on one example, predicted "
    "from one pass over the data before anything was built: relative to how much the outputs vary, "
    "so without a unit, by default; in nats per token for language models. It adds up over layers, "
    "and the dense network has 0."
)
EXPLANATIONS = {
    "svd": "Two thinner layers in a row that copy the weights as well as possible; uses no data.",
    "activation_svd": "Two thinner layers in a row that keep this layer’s outputs on the data.",
    "weighted_svd": "Two thinner layers in a row that keep the whole network’s outputs: an error "
    "counts by how much it changes the network’s output.",
    "pivoted_svd": "The same two layers, but the second passes some of its inputs on unchanged: "
    "fewer numbers for the same result.",
    "spatial": "A convolution split into a tall one and a wide one in a row (k×1 and 1×k).",
    "tucker2": "A convolution on fewer channels, between two that mix them (1×1, k×k, 1×1).",
    "rounding": "The same layer with weights in codes of a few bits; weights rounded later take up "
    "what earlier ones have lost.",
    "cp": "A few channels, each filtered separately, between two layers that mix them.",
    "backward_elimination": "Removes whole channels one after another: each time the one that is "
    "missed least once the others have taken over its work.",
    "group_lasso": "Removes whole channels: those that a penalty on channels sets to zero first.",
    "largest_norm": "Removes whole channels: those with the smallest weights first.",
    NARROWED: "The same layer with fewer channels: no other layer reads or feeds the removed ones.",
}


def explained(frontier: Frontier, curves: Curves) -> dict[str, str]:
    """What each method on the page does, and why it was or was not offered, by name.

    A method that you registered is explained by the first line of its class's docstring. Methods
    without an explanation are left out.
    """
    why = {name: reason for plan in _plans(frontier) for name, reason in _reasons(plan).items()}
    found = dict.fromkeys([*_named(frontier, curves), *why])
    texts = {name: text for name in found if (text := _explanation(name))}
    return {name: f"{text} {why.get(name, '')}".rstrip() for name, text in texts.items()}


def _plans(frontier: Frontier) -> list[Plan]:
    """Our own plans, not those of the baselines."""
    return [point.plan for point in frontier.points if point.label == MAIN]


def _reasons(plan: Plan) -> dict[str, str]:
    """Why each method was offered to a plan, or was not, as sentences."""
    offered = {name: f"Offered: {reason}." for name, reason in plan.offered.items()}
    return offered | {name: f"It {reason}." for name, reason in plan.withheld.items()}


def _named(frontier: Frontier, curves: Curves) -> Iterable[str]:
    for point in frontier.points:
        yield from (choice.method for choice in point.plan.choices.values())
        yield from (removal.method for removal in point.plan.removals.values())
    for curve in curves.curves:
        yield from (option.method for option in curve.options if not option.form.is_plain)
    yield from (group.method for group in curves.groups)


def _explanation(name: str) -> str:
    from eckart.methods import METHODS, SELECTIONS  # here, because they bring torch

    own = METHODS.get(name, SELECTIONS.get(name))
    text = EXPLANATIONS.get(name) or (type(own).__doc__ if own is not None else None) or ""
    return text.strip().split("\n")[0]

"""What the page says in plain words about every method that it draws."""

from __future__ import annotations

from collections.abc import Iterable

from eckart.methods import METHODS, SELECTIONS
from eckart.records import Curves, Frontier
from eckart.records.plans import NARROWED

EXPLANATIONS = {
    "svd": "Two thinner layers in a row, the best copy of the weights; it looks at no data.",
    "activation_svd": "Two thinner layers in a row that keep this layer’s outputs on the data.",
    "weighted_svd": "Two thinner layers in a row that keep the whole network’s outputs: an error "
    "counts for what it changes at the end.",
    "pivoted_svd": "The same two layers, where some of the outputs pass through the second as they "
    "are: fewer numbers for the same result.",
    "spatial": "A convolution as a tall one and a wide one in a row (k×1 and 1×k).",
    "pointwise_first": "A convolution as one that mixes channels at each position, then one that "
    "filters (1×1 and k×k).",
    "tucker2": "A convolution on fewer channels, between two that mix them (1×1, k×k, 1×1).",
    "cp": "Each of a few channels is filtered by itself, between two layers that mix them.",
    "backward_elimination": "Whole channels leave, one after another: always the one whose loss is "
    "least once the others have taken over its work.",
    "group_lasso": "Whole channels leave, those that a penalty on channels sets to zero first.",
    "largest_norm": "Whole channels leave, those with the smallest weights first.",
    NARROWED: "The same layer with fewer channels: nothing left reads or feeds the others.",
}


def explained(frontier: Frontier, curves: Curves) -> dict[str, str]:
    """The methods of a page with what each does; those without an explanation are left out.

    A registered method of your own is explained by the first line of its class's docstring.
    """
    found = dict.fromkeys(_named(frontier, curves))
    return {name: text for name in found if (text := _explanation(name))}


def _named(frontier: Frontier, curves: Curves) -> Iterable[str]:
    for point in frontier.points:
        yield from (choice.method for choice in point.plan.choices.values())
        yield from (removal.method for removal in point.plan.removals.values())
    for curve in curves.curves:
        yield from (option.method for option in curve.options if not option.form.is_plain)
    yield from (group.method for group in curves.groups)


def _explanation(name: str) -> str:
    own = METHODS.get(name, SELECTIONS.get(name))
    text = EXPLANATIONS.get(name) or (type(own).__doc__ if own is not None else None) or ""
    return text.strip().split("\n")[0]

"""What prevents a budget: the largest parts that cannot shrink, with the reasons."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter

from eckart.costs import cost_in
from eckart.records import Curves
from eckart.records.budgets import Scope
from eckart.records.curves import UNREACHED

_MOST_NAMED = 4
_ASKED = "asked to stay dense"
_LEAST = "its cheapest option"
_NO_MATRIX = "it has no matrix"
_IDLE = "it stays as it is"


def what_stays(curves: Curves, cost: str, whole: float, scope: Scope) -> str:
    """The largest parts that cannot shrink, and what may help, as sentences.

    Args:
        curves: what was offered.
        cost: name of the cost whose limit is out of reach.
        whole: this cost of everything that the budget counts.
        scope: what the budget counts: ``"model"``, ``"reached"`` or ``"sites"``.
    """
    found = [*_least(curves, cost), *(_fixed(curves, cost) if scope != "sites" else ())]
    found = [part for part in found if part[0] != UNREACHED or scope == "model"]
    found = sorted((part for part in found if part[1] > 0), key=itemgetter(1), reverse=True)
    parts = [
        f"{name!r} keeps {amount(value)} ({value / (whole or 1):.0%}): {why}"
        for name, value, why in found[:_MOST_NAMED]
    ]
    if len(found) > _MOST_NAMED:
        rest = sum(value for _, value, _ in found[_MOST_NAMED:])
        parts.append(f"{len(found) - _MOST_NAMED} more keep {amount(rest)}")
    advice = ["a larger budget", "lower ranks or more methods"]
    if _ASKED in curves.dense.values():
        advice.append("fewer layers left dense")
    if scope == "model" and curves.unreached.get(cost, 0) > 0:
        advice.append("of='reached', which does not count what nothing used")
    if cost == "bytes" and not any(len(o.form.bits) > 1 for c in curves.curves for o in c.options):
        advice.append("curves with limits='bytes', which keep factors in codes too")
    return (
        f"Largest parts that cannot shrink further: {'; '.join(parts)}. "
        f"What helps: {', '.join(advice)}"
    )


def amount(value: float) -> str:
    """A cost as text: a whole number, or four digits of one that is not."""
    return f"{value:.0f}" if value == int(value) else f"{value:.4g}"


def _least(curves: Curves, cost: str) -> Iterator[tuple[str, float, str]]:
    """Each site with what it costs at its cheapest option."""
    of = cost_in(curves, cost).of
    for curve in curves.curves:
        name = curve.site.name
        least = min(of(curves.specs[name], option.form) for option in curve.options)
        yield name, least, curves.dense.get(name, _LEAST)


def _fixed(curves: Curves, cost: str) -> Iterator[tuple[str, float, str]]:
    """Each part without options, with its cost and the reason."""
    sites = {curve.site.name for curve in curves.curves}
    for name, costs in curves.parts.items():
        if name not in sites:
            why = _IDLE if name == UNREACHED else curves.dense.get(name, _NO_MATRIX)
            yield name or "the model", costs.get(cost, 0), why

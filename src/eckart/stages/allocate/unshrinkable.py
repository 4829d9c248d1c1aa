"""What prevents a budget: the largest parts that cannot shrink, with the reasons."""

from __future__ import annotations

from eckart.costs import cost_named
from eckart.records import Curves

_MOST_NAMED = 3
_ASKED = "asked to stay dense"


def what_stays(curves: Curves, cost: str, whole: float, changeable: float) -> str:
    """The largest parts that cannot shrink, and what may help, as sentences.

    Args:
        curves: what was offered.
        cost: name of the cost whose limit is out of reach.
        whole: this cost of everything that the budget counts.
        changeable: this cost of the layers that can change, when dense.
    """
    parts = [text for text in (_outside(curves, cost, whole, whole - changeable),) if text]
    least = sorted(_least(curves, cost).items(), key=lambda item: -item[1])[:_MOST_NAMED]
    parts += [f"{name!r} keeps {_amount(value, whole)}" for name, value in least if value]
    advice = ["a larger budget", "lower ranks or more methods"]
    if _ASKED in curves.dense.values():
        advice.append("fewer layers left dense")
    return f"Largest parts at their least: {'; '.join(parts)}. What helps: {', '.join(advice)}"


def _outside(curves: Curves, cost: str, whole: float, fixed: float) -> str:
    """The layers that cannot change, with a few reasons; empty if there are none."""
    if fixed <= 0:
        return ""
    reasons = list(curves.dense.items())
    named = "; ".join(f"{name or 'the model'}: {why}" for name, why in reasons[:_MOST_NAMED])
    more = f" and {len(reasons) - _MOST_NAMED} more" if len(reasons) > _MOST_NAMED else ""
    why = f": {named}{more}" if named else ""
    return f"layers that stay as they are: {fixed:.0f} of {cost} ({fixed / whole:.0%}){why}"


def _least(curves: Curves, cost: str) -> dict[str, float]:
    """What each site costs at its cheapest option."""
    of = cost_named(cost).of
    return {
        curve.site.name: float(
            min(of(curves.specs[curve.site.name], option.form) for option in curve.options)
        )
        for curve in curves.curves
    }


def _amount(value: float, whole: float) -> str:
    return f"{value:.0f} ({value / max(whole, 1):.0%})"

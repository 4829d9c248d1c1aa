"""The price of one cost at which the best choice passes the limit, by slopes between choices.

Two choices are kept: one within the limit, one beyond it. At the price at which they are worth the
same, either they are the best choices there are, or a better one takes the place of one of them.
Losses may differ by any factor, because every step compares the losses of its own two choices.

Source: Everett 1963 (Lagrange multipliers), with the slope of the last two choices as the next
price.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

_ROUNDS = 200  # a price is met after ten or twenty
_SAME = 1e-12  # relative; sums of losses are rounded


class Priced(Protocol):
    """A choice with its loss and what it costs."""

    @property
    def loss(self) -> float:
        """Sum of the losses."""

    @property
    def spent(self) -> float:
        """Sum of the first cost."""


P = TypeVar("P", bound=Priced)


class Price(NamedTuple):
    """The price of the limit.

    Attributes:
        price: loss per unit of cost.
        bound: no choice within the limit has less loss.
    """

    price: float
    bound: float


def price_of(
    within: P, beyond: P, limit: float, best: Callable[[float], tuple[P, float]]
) -> tuple[Price, list[P]]:
    """The price at the limit, with all choices met; the last two are next to the limit.

    Args:
        within: a choice that meets the limit.
        beyond: one of less loss that does not.
        limit: on the cost.
        best: the choice of least ``loss + price · cost``, and a lower bound on that sum.

    Returns:
        The price with the highest bound, and the choices; the last two are the ones on both sides
        of the limit, the one within it first.
    """
    found, met = Price(0.0, 0.0), list[P]()
    for _ in range(_ROUNDS):
        price = (within.loss - beyond.loss) / (beyond.spent - within.spent)
        choice, least = best(price)
        found = max(found, Price(price, least - price * limit), key=lambda each: each.bound)
        line = within.loss + price * within.spent
        inside = within.spent < choice.spent < beyond.spent
        if not inside or choice.loss + price * choice.spent >= line * (1 - _SAME):
            break
        met.append(choice)
        if choice.spent <= limit:
            within = choice
        else:
            beyond = choice
    return found, [*met, within, beyond]

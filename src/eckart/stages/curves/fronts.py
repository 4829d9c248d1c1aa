"""Which options are worth offering: those that no other beats, and a few of these."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import log
from typing import TypeVar

from eckart.records import Option

T = TypeVar("T")


def unbeaten(items: Iterable[T], loss: Callable[[T], float], size: Callable[[T], float]) -> list[T]:
    """Items that no other beats in loss and size at once, by ascending size."""
    kept: list[T] = []
    least = float("inf")
    for item in sorted(items, key=lambda i: (size(i), loss(i))):
        if loss(item) < least:
            kept.append(item)
            least = loss(item)
    return kept


def unbeaten_factors(options: Iterable[Option]) -> list[Option]:
    """Options that no other beats in loss and number of parameters at once."""
    return unbeaten(options, lambda o: o.loss, lambda o: o.form.params)


def spread(options: list[Option], count: int) -> list[Option]:
    """At most so many of options by ascending size: at equal ratios of their sizes."""
    sizes = [log(option.form.params) for option in options]
    if len(options) <= count:
        return options
    step = (sizes[-1] - sizes[0]) / (count - 1)
    wanted = (sizes[0] + step * at for at in range(count))
    nearest = {min(range(len(sizes)), key=lambda i: abs(sizes[i] - size)) for size in wanted}
    return [options[at] for at in sorted(nearest)]

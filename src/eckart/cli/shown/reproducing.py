"""The command that makes one point of a frontier again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from eckart.records import Point
from eckart.report.selection import MAIN

_OF_FRONTIER = ("--keeps", "--cost", "--out", "--report")  # each with a value
_FLAGS = ("--baselines", "--no-baselines", "--latency", "--no-latency", "--json")


def point_command(words: Sequence[str], point: Point, cost: str) -> str:
    """What to type for one point, from the words that made the whole frontier.

    Args:
        words: of ``eckart frontier``, from the command's name on.
        point: of that frontier.
        cost: the cost that its ``keep`` is a fraction of.

    Returns:
        ``eckart compress`` with the same options; for a baseline, which compress does not offer,
        ``eckart frontier`` with that fraction alone.

    Example:
        >>> from eckart.records import Measurement, Plan
        >>> empty = {"choices": {}, "dense": {}, "costs": {}, "totals": {}}
        >>> plan = Plan(**empty, loss=0.0, fingerprint="", damping=1e-6)
        >>> measured = Measurement(params=1, macs=1, bytes=4)
        >>> point = Point(keep=0.5, label="eckart", plan=plan, measurement=measured)
        >>> words = ["frontier", "net.py:make", "--keeps", "0.7,0.5", "--data", "my images"]
        >>> print(point_command(words, point, "macs"))
        eckart compress net.py:make --data 'my images' --budget macs=0.5 --out smaller-0.5
    """
    keep = repr(float(point.keep))  # a fraction has a point, an amount has none
    if point.label != MAIN:
        goal = ["--keeps", keep, "--cost", cost]
        return shlex.join(["eckart", *_without_goals(words), *goal])
    goal = ["--keep", keep] if cost == "params" else ["--budget", f"{cost}={keep}"]
    rest = list(_without_goals(words))[1:]
    return shlex.join(["eckart", "compress", *rest, *goal, "--out", f"smaller-{keep}"])


def _without_goals(words: Sequence[str]) -> Iterator[str]:
    """The words without what is said of the frontier as a whole."""
    left = iter(words)
    for word in left:
        name, equals, _ = word.partition("=")
        if name in _OF_FRONTIER:
            if not equals:
                next(left, None)
        elif word not in _FLAGS:
            yield word

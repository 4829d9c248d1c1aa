"""Budgets: what a network may cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from numbers import Integral, Real
from typing import Any, Literal, get_args

from eckart.errors import InputError
from eckart.records.reading import read

Scope = Literal["model", "reached", "sites"]
SCOPES: tuple[str, ...] = get_args(Scope)
Amount = int | float

MS = "ms"
"""The name of the cost in milliseconds."""
_OWN = ("params", "macs", "bytes", MS)  # costs that a budget has an argument for


@dataclass(frozen=True)
class Budget:
    """Limits on what the smaller network may cost.

    A float in (0, 1] is a fraction of the dense cost; an integer is an absolute amount. Absolute
    milliseconds may also be a float above 1, such as 7.5.

    Attributes:
        params, macs, bytes, ms: the limits; None is no limit. Milliseconds need timings, see
            ``eckart.profile``.
        of: what is counted, for fractions and absolute amounts alike: the whole ``"model"``; only
            what calibration ``"reached"``, without parameters that nothing used, such as auxiliary
            heads for training; or only the ``"sites"``, which are the layers that can be
            compressed.
        costs: limits by name, including costs that were registered in addition to those above.
    """

    params: Amount | None = None
    macs: Amount | None = None
    bytes: Amount | None = None
    ms: Amount | None = None
    of: Scope = "model"
    costs: Mapping[str, Amount] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.of not in SCOPES:
            raise InputError(
                f"of={self.of!r}: a budget is of the 'model', of what calibration 'reached' of it, "
                "or of its 'sites'"
            )
        if not self._given:
            raise InputError("an empty budget: give at least one limit, such as params=0.5")
        twice = [name for name in self.costs if getattr(self, name, None) is not None]
        if twice:
            raise InputError(f"budget limits {', '.join(twice)} twice: by name and in costs=")
        for name, limit in self._given.items():
            _check_limit(name, limit)
        for name in self.costs.keys() & set(_OWN):  # the same budget, whichever way it was given
            object.__setattr__(self, name, self.costs[name])
        others = {name: limit for name, limit in self.costs.items() if name not in _OWN}
        object.__setattr__(self, "costs", others)

    @property
    def limits(self) -> dict[str, Amount]:
        """The limits that are set, by cost: a float is a fraction, an integer is an amount."""
        given = self._given.items()
        return {k: int(v) if isinstance(v, Integral) else float(v) for k, v in given}

    @property
    def _given(self) -> dict[str, Amount]:
        own = {name: getattr(self, name) for name in _OWN}
        return {k: v for k, v in {**own, **self.costs}.items() if v is not None}

    def as_json(self) -> dict[str, Any]:
        """Plain dictionary."""
        return {**self.limits, "of": self.of}

    @classmethod
    def from_json(cls, data: Any) -> Budget:
        """The inverse of ``as_json``."""
        return read(cls, data)

    @classmethod
    def unpacked(cls, data: Any) -> Any:
        """All limits are written side by side; those that are not set are left out."""
        if not isinstance(data, dict):
            return data
        own, named = dict.fromkeys(_OWN), {*_OWN, "of"}
        others = {k: v for k, v in data.items() if k not in named}
        return {**own, **{k: v for k, v in data.items() if k in named}, "costs": others}


def is_fraction(limit: Amount) -> bool:
    """Whether a limit is a fraction of dense, and not an absolute amount."""
    return isinstance(limit, float) and limit <= 1


def _check_limit(name: str, limit: Amount) -> None:
    if isinstance(limit, Integral) and not isinstance(limit, bool) and limit >= 1:
        return
    most = inf if name == MS else 1
    if isinstance(limit, Real) and not isinstance(limit, Integral) and 0 < limit <= most:
        return
    raise InputError(
        f"budget {name}={limit!r}: give a fraction in (0, 1] as a float, or a positive integer "
        "as an absolute amount"
    )

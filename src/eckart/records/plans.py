"""Budgets and plans: what may be spent, and what is done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from typing import Any, Literal

from eckart.errors import InputError
from eckart.records.channels import Removal
from eckart.records.forms import Form

Scope = Literal["model", "sites"]
Amount = int | float


NARROWED = "narrowed"
"""Method of a layer that only lost channels."""


@dataclass(frozen=True)
class Budget:
    """Limits on what the smaller network may cost.

    A float in (0, 1] is a fraction of the dense cost, an integer an absolute amount.

    Attributes:
        params, macs, bytes: the limits; None is no limit.
        of: what fractions are taken of: all of the ``"model"``, or the ``"sites"``, which are
            the layers that can be compressed. Absolute amounts always count the same scope.
        costs: limits on costs that were registered beside the three above, by name.
    """

    params: Amount | None = None
    macs: Amount | None = None
    bytes: Amount | None = None
    of: Scope = "model"
    costs: Mapping[str, Amount] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.of not in ("model", "sites"):
            raise InputError(f"of={self.of!r}: a budget is of 'model' or of 'sites'")
        if not self._given:
            raise InputError("an empty budget: give at least one limit, such as params=0.5")
        twice = [name for name in self.costs if getattr(self, name, None) is not None]
        if twice:
            raise InputError(f"budget limits {', '.join(twice)} twice: by name and in costs=")
        for name, limit in self._given.items():
            _check_limit(name, limit)

    @property
    def limits(self) -> dict[str, Amount]:
        """The limits that are set, by cost: a float is a fraction, an integer an amount."""
        given = self._given.items()
        return {k: int(v) if isinstance(v, Integral) else float(v) for k, v in given}

    @property
    def _given(self) -> dict[str, Amount]:
        own = {name: getattr(self, name) for name in ("params", "macs", "bytes")}
        return {k: v for k, v in {**own, **self.costs}.items() if v is not None}

    def as_json(self) -> dict[str, Any]:
        """Plain dictionary."""
        return {**self.limits, "of": self.of}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Budget:
        """The inverse of ``as_json``."""
        own = {k: v for k, v in data.items() if k in {f.name for f in fields(cls)}}
        return cls(**own, costs={k: v for k, v in data.items() if k not in own})


@dataclass(frozen=True)
class Choice:
    """What a plan does to one layer."""

    method: str
    form: Form
    loss: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The form of every layer that changes, and why the others stay dense.

    Attributes:
        choices: by layer name.
        dense: reason by layer name.
        loss: predicted loss, the sum over the choices.
        costs: predicted cost of the whole network by name; ``totals`` that of the dense one.
        budget: what was asked for, if a budget was.
        fingerprint: of the dense network.
        damping: relative damping of the moments.
        moments: digest of the moments that the losses were predicted from.
        removals: channels that go, by group name.
        whole: channel groups that could not be narrowed, with the reason.
        bound: no plan of the same options and budget has less predicted loss than this.
    """

    choices: Mapping[str, Choice]
    dense: Mapping[str, str]
    loss: float
    costs: Mapping[str, int]
    totals: Mapping[str, int]
    fingerprint: str
    damping: float
    budget: Budget | None = None
    moments: str = ""
    removals: Mapping[str, Removal] = field(default_factory=dict)
    whole: Mapping[str, str] = field(default_factory=dict)
    bound: float = 0.0

    def __str__(self) -> str:
        kept = ", ".join(f"{v / self.totals[k]:.3f} of {k}" for k, v in self.costs.items())
        factored = sum(not choice.form.is_plain for choice in self.choices.values())
        gone = sum(len(removal.removed) for removal in self.removals.values())
        channels = f", {gone} channels removed" if gone else ""
        return (
            f"{factored} layers factored{channels}, {len(self.dense)} dense; "
            f"predicted loss {self.loss:.4g}; keeps {kept}"
        )

    def without(
        self, reasons: Mapping[str, str], narrow: Mapping[str, Form], costs: Mapping[str, int]
    ) -> Plan:
        """This plan with some layers not factored after all.

        Args:
            reasons: by layer.
            narrow: the form of those of them that lost channels and stay narrower.
            costs: of the whole network then.
        """
        kept = {k: v for k, v in self.choices.items() if k not in reasons}
        kept |= {name: Choice(NARROWED, form, 0.0) for name, form in narrow.items()}
        loss = predicted(kept, self.removals)
        dense = {**self.dense, **reasons}
        return replace(self, choices=kept, dense=dense, loss=loss, costs=costs, bound=0.0)

    def carries_out(self, asked: Plan) -> bool:
        """Whether this is the plan asked for, but for layers that had to stay dense after all."""
        done = {k: v for k, v in self.choices.items() if k not in self.dense}
        wanted = {k: v for k, v in asked.choices.items() if k not in self.dense}
        return done == wanted and self.removals == asked.removals

    def as_json(self) -> dict[str, Any]:
        """Plain dictionaries and lists."""
        choices = {
            name: {"method": c.method, "form": c.form.as_json(), "loss": c.loss}
            for name, c in self.choices.items()
        }
        return {
            "choices": choices,
            "dense": dict(self.dense),
            "loss": self.loss,
            "costs": dict(self.costs),
            "totals": dict(self.totals),
            "fingerprint": self.fingerprint,
            "damping": self.damping,
            "budget": None if self.budget is None else self.budget.as_json(),
            "moments": self.moments,
            "removals": {name: removal.as_json() for name, removal in self.removals.items()},
            "whole": dict(self.whole),
            "bound": self.bound,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """The inverse of ``as_json``."""
        choices = {
            name: Choice(c["method"], Form.from_json(c["form"]), c["loss"])
            for name, c in data["choices"].items()
        }
        budget = None if data["budget"] is None else Budget.from_json(data["budget"])
        removals = {k: Removal.from_json(v) for k, v in data.get("removals", {}).items()}
        return cls(**{**data, "choices": choices, "budget": budget, "removals": removals})

    def dumps(self) -> str:
        """JSON text."""
        return json.dumps(self.as_json(), indent=2)


def predicted(choices: Mapping[str, Choice], removals: Mapping[str, Removal]) -> float:
    """The loss of a plan: the sum over all that it does."""
    losses = [choice.loss for choice in choices.values()]
    return sum([*losses, *(removal.loss for removal in removals.values())], 0.0)


def _check_limit(name: str, limit: Amount) -> None:
    if isinstance(limit, Integral) and not isinstance(limit, bool) and limit >= 1:
        return
    if isinstance(limit, Real) and not isinstance(limit, Integral) and 0 < limit <= 1:
        return
    raise InputError(
        f"budget {name}={limit!r}: give a fraction in (0, 1] as a float, or a positive integer "
        "as an absolute amount"
    )

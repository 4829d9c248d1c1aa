"""Plans: what is done to a network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from eckart.records.budgets import MS, Budget
from eckart.records.channels import Removal
from eckart.records.excerpts import excerpt
from eckart.records.forms import Form
from eckart.records.reading import Amount, read
from eckart.records.shrinkage import Shrinkage, said_of, said_of_few
from eckart.records.states import States
from eckart.storage.documents import parsed, sealed, unsealed

NARROWED = "narrowed"
"""Method of a layer that only lost channels."""


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
        choices: what is done to each layer that changes, by name.
        dense: why each of the other layers stays dense, by name.
        loss: predicted loss: the sum over choices and removals.
        costs: predicted cost of the whole smaller network, by name of the cost.
        totals: cost of the whole dense network, by name of the cost.
        budget: the budget that was asked for, if any.
        fingerprint: of the dense network.
        damping: relative damping of the moments.
        shrunk: how far the moments are shrunk besides, by layer.
        scarce: the changed layers whose losses rest on too few data, with what they rest on.
        moments: digest of the moments that the losses were predicted from.
        removals: the channels that are removed, by group name.
        whole: channel groups that could not be narrowed, with the reason.
        bound: no plan from the same options within the same budget has less predicted loss.
        states: what the methods prepared to predict the losses, so that ``apply`` need not do it
            again. A plan read from JSON has none; it gives the same network.
        notes: what is to be said about modules that the plan opens, by name.
        unreached: what the parameters cost that calibration did not reach, by name of the cost.
            They stay as they are.
        refined: the loss of the factors that were built, by layer, once the plan is applied. It is
            never above that of the choice, and below where the method could refine its factors.
        scaled: by what the weights of layers were multiplied so that their outputs keep their size,
            once the plan is applied; empty if the network is not closer to the dense one with that.
        offered: the methods that the plan could choose from, each with the reason.
        withheld: methods that it could not choose from although they are defaults, with the reason.
    """

    choices: Mapping[str, Choice]
    dense: Mapping[str, str]
    loss: float
    costs: Mapping[str, Amount]
    totals: Mapping[str, Amount]
    fingerprint: str
    damping: float
    budget: Budget | None = None
    moments: str = ""
    removals: Mapping[str, Removal] = field(default_factory=dict)
    whole: Mapping[str, str] = field(default_factory=dict)
    bound: float = 0.0
    states: States = field(default_factory=States, repr=False, compare=False)
    notes: Mapping[str, str] = field(default_factory=dict, compare=False)
    unreached: Mapping[str, Amount] = field(default_factory=dict, compare=False)
    refined: Mapping[str, float] = field(default_factory=dict, compare=False)
    scaled: Mapping[str, float] = field(default_factory=dict, compare=False)
    offered: Mapping[str, str] = field(default_factory=dict, compare=False)
    withheld: Mapping[str, str] = field(default_factory=dict, compare=False)
    shrunk: Mapping[str, Shrinkage] = field(default_factory=dict, compare=False)
    scarce: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        kept = ", ".join(f"{v / (self.totals[k] or 1):.3f} of {k}" for k, v in self.costs.items())
        forms = [choice.form for choice in self.choices.values()]
        factored = sum(len(form.pieces) > 1 for form in forms)
        coded = sum(bool(form.bits) for form in forms)
        codes = f", {coded} in codes" if coded else ""
        gone = sum(len(removal.removed) for removal in self.removals.values())
        channels = f", {gone} channels removed" if gone else ""
        return (
            f"{factored} layers factored{codes}{channels}, {len(self.dense)} dense; "
            f"predicted loss {self.loss:.4g}{self._after()}; keeps {kept}"
            f"{self._said_of_methods()}"
            f"{self._said_of_unreached()}{said_of(self.shrunk)}{said_of_few(self.scarce)}"
        )

    def _said_of_methods(self) -> str:
        """What the plan was chosen from."""
        without = "".join(f"; {name} {why}" for name, why in self.withheld.items())
        return f"; from {', '.join(self.offered)}{without}" if self.offered else ""

    def _said_of_unreached(self) -> str:
        """How much of the network does nothing, and how to leave it out of the count."""
        idle, whole = self.unreached.get("params", 0), self.totals.get("params", 0)
        if not 0 < idle < whole:
            return ""
        counted = self.budget is not None and self.budget.of == "model"
        how = "; of='reached' does not count them" if counted else ""
        return f"; calibration did not reach {idle / whole:.1%} of the parameters, which stay{how}"

    def _after(self) -> str:
        """What was done when the factors were built."""
        found = self.refined_loss
        refined = f", {found:.4g} refined" if found < self.loss * (1 - 1e-3) else ""
        most = max(self.scaled.values(), default=1.0)
        return refined + (f", outputs kept in size (x {most:.3g} at most)" if self.scaled else "")

    @property
    def refined_loss(self) -> float:
        """The loss with refined factors; the predicted loss if the plan was not applied."""
        gained = (c.loss - self.refined.get(name, c.loss) for name, c in self.choices.items())
        return self.loss - sum(gained)

    @property
    def changed(self) -> set[str]:
        """The layers and norms that are not as they were."""
        coupled = {name for r in self.removals.values() for name in r.group.members}
        return coupled | self.choices.keys()

    def without(
        self, reasons: Mapping[str, str], narrow: Mapping[str, Form], costs: Mapping[str, float]
    ) -> Plan:
        """This plan with some layers not factored after all.

        Args:
            reasons: why each of these layers is not factored, by name.
            narrow: the form of those among them that lost channels and stay narrower.
            costs: of the whole network after that.
        """
        kept = {k: v for k, v in self.choices.items() if k not in reasons}
        kept |= {name: Choice(NARROWED, form, 0.0) for name, form in narrow.items()}
        loss = predicted(kept, self.removals)
        dense = {**self.dense, **reasons}
        return replace(self, choices=kept, dense=dense, loss=loss, costs=costs, bound=0.0)

    def carries_out(self, asked: Plan) -> bool:
        """Whether this is the plan asked for, except for layers that had to stay dense."""
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
            "notes": dict(self.notes),
            "unreached": dict(self.unreached),
            "refined": dict(self.refined),
            "scaled": dict(self.scaled),
            "offered": dict(self.offered),
            "withheld": dict(self.withheld),
            "shrunk": {name: asdict(found) for name, found in self.shrunk.items()},
            "scarce": dict(self.scarce),
        }

    @classmethod
    def from_json(cls, data: Any) -> Plan:
        """The inverse of ``as_json``, and of ``dumps`` parsed as JSON; a digest is checked.

        Raises:
            CheckpointError: the data are not a plan, or not what was written.
        """
        return read(cls, unsealed(data, required=False))

    def contradiction(self) -> str | None:
        """Each removal must have the name of its group, and each cost must be among the totals.

        All costs but milliseconds are whole numbers.
        """
        names = [name for name, removal in self.removals.items() if removal.group.name != name]
        if names:
            return f"removals[{excerpt(names[0])}] is for another group"
        for name, value in (*self.costs.items(), *self.totals.items()):
            if value < 0 or (isinstance(value, float) and name != MS):
                return f"costs[{excerpt(name)}]: expected a whole number, got {value}"
        beyond = sorted(self.costs.keys() - self.totals.keys())
        return f"totals lack the costs {excerpt(beyond)}" if beyond else None

    def dumps(self) -> str:
        """JSON text with a digest. To change it on purpose, delete the entry ``digest`` too."""
        return json.dumps(sealed(self.as_json()), indent=2)

    @classmethod
    def loads(cls, text: str | bytes) -> Plan:
        """The inverse of ``dumps``.

        Raises:
            CheckpointError: the text is not a plan, or not what was written.
        """
        return cls.from_json(parsed(text))


def predicted(choices: Mapping[str, Choice], removals: Mapping[str, Removal]) -> float:
    """The loss of a plan: the sum over its choices and removals."""
    losses = [choice.loss for choice in choices.values()]
    return sum([*losses, *(removal.loss for removal in removals.values())], 0.0)

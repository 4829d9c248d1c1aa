"""What could be done: the options of every site, with their predicted losses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from eckart.errors import InputError
from eckart.records.budgets import MS
from eckart.records.channels import GroupCurve
from eckart.records.forms import Form, LayerSpec
from eckart.records.offered import EIGHT_BITS, ROUNDING, Offered
from eckart.records.shrinkage import Shrinkage, said_of_few
from eckart.records.states import States
from eckart.records.timings import Timings

OUTSIDE = "what runs outside of layers"
"""The name of a part: everything that no layer does."""
UNREACHED = "what calibration did not reach"
"""The name of a part: all parameters that nothing used."""


@dataclass(frozen=True)
class Site:
    """Layers that change together; one layer for a factorisation."""

    name: str
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Option:
    """One thing that can be done at a site, with its predicted loss.

    A layer has options for many widths. The ends of a form say how many channels of the layer's
    groups are left, so the choice for the groups decides which of the options are open.
    """

    method: str
    form: Form
    loss: float

    @property
    def uses(self) -> set[str]:
        """The names among methods that it needs; rounded activations have a name of their own."""
        if self.form.activations:
            return {EIGHT_BITS}
        return {self.method, ROUNDING} if self.form.bits else {self.method}

    @property
    def family(self) -> str:
        """The method, and whether it is in codes: what is learned of one form holds for these."""
        return family(self.method, self.form)

    def times(self, ratio: float) -> Option:
        """The option with its loss multiplied."""
        return self if ratio == 1 else replace(self, loss=self.loss * ratio)


def family(method: str, form: Form) -> str:
    """The method of a form, and whether the form is in codes."""
    return method + " in codes" * bool(form.bits)


@dataclass(frozen=True)
class Curve:
    """A site's options; the last one stays dense, without loss."""

    site: Site
    options: tuple[Option, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Curves:
    """Every site with its options, and what the dense network costs; equal only to itself.

    Attributes:
        curves: one per site.
        specs: the layers, by name.
        totals: cost of the whole dense network by name, including layers that cannot change.
        dense: layers that stay dense whatever the budget, with the reason.
        fingerprint: of the network that the moments were gathered on.
        damping: relative damping of the moments that the losses are measured in.
        shrunk: how far the moments are shrunk, by layer; empty if the damping was given, or if the
            data do not say.
        scarce: layers whose losses rest on too few data, with what they rest on.
        moments: digest of the moments.
        groups: the curves of the channel groups.
        whole: channel groups that cannot be narrowed, with the reason.
        parts: what each part of the dense network costs, by name of the part and of the cost:
            every layer, all modules of one class that have no matrix, and what calibration did not
            reach.
        states: what the methods prepared, from which options can be built.
        notes: what is to be said about modules that are opened, by name.
        offered: the methods that the options come from, and which budgets may use them.
        timings: what the options take in milliseconds, where that was measured.
    """

    curves: tuple[Curve, ...]
    specs: Mapping[str, LayerSpec]
    totals: Mapping[str, float]
    dense: Mapping[str, str]
    fingerprint: str
    damping: float
    moments: str = ""
    groups: tuple[GroupCurve, ...] = ()
    whole: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, Mapping[str, float]] = field(default_factory=dict, repr=False)
    states: States = field(default_factory=States, repr=False)
    notes: Mapping[str, str] = field(default_factory=dict)
    offered: Offered = field(default_factory=Offered)
    shrunk: Mapping[str, Shrinkage] = field(default_factory=dict, repr=False)
    scarce: Mapping[str, str] = field(default_factory=dict, repr=False)
    timings: Timings | None = None

    @property
    def unreached(self) -> Mapping[str, float]:
        """What the parameters cost that calibration did not reach, by name of the cost."""
        return self.parts.get(UNREACHED, {})

    def under(self, costs: Iterable[str]) -> Curves:
        """The curves with only what limits on these costs may use.

        Some methods are for certain costs only. Where milliseconds are limited, nothing is used
        that was not timed, or that takes longer than the dense layer.
        """
        limited = list(costs)
        timed = self._faster() if MS in limited else self
        if not self.offered.only_for:
            return timed
        offered = self.offered.under(limited)
        curves = [
            replace(c, options=tuple(o for o in c.options if not o.uses & offered.withheld.keys()))
            for c in timed.curves
        ]
        return replace(timed, curves=tuple(curves), offered=offered)

    def timed(self, timings: Timings) -> Curves:
        """The curves with milliseconds as one more cost.

        Raises:
            MismatchError: the timings are of another network.
            InputError: they are not complete.
        """
        timings.terms.check(replace(timings.terms, fingerprint=self.fingerprint))
        if EIGHT_BITS in self.offered.methods and not timings.rounded:
            raise InputError(
                "these timings have no layers with rounded activations: call eckart.profile with "
                "activations=8, and the same path to keep what was timed"
            )
        parts = {name: dict(costs) for name, costs in self.parts.items()}
        for name, spec in self.specs.items():
            parts.setdefault(name, {})[MS] = timings.ms(spec, spec.dense)
        parts.setdefault(OUTSIDE, {})[MS] = timings.constant
        return replace(
            self,
            totals={**self.totals, MS: timings.dense_ms},
            groups=tuple(self._with_norms(group, timings) for group in self.groups),
            parts=parts,
            timings=timings,
        )

    def _with_norms(self, curve: GroupCurve, timings: Timings) -> GroupCurve:
        """The group with the milliseconds of each unit in norms and activations."""
        passing = [0.0] * curve.group.size
        for name, units in curve.group.writers.items():
            if name in self.specs:
                for unit, channels in enumerate(units):
                    passing[unit] += timings.after_ms(self.specs[name], len(channels))
        return replace(curve, costs={**curve.costs, MS: tuple(passing)})

    def _faster(self) -> Curves:
        """The curves without options that were not timed or take longer than the dense layer."""
        timings = self.timings
        if timings is None:
            return self
        curves = []
        for curve in self.curves:
            spec = self.specs[curve.site.name]
            *others, dense = curve.options
            most = timings.ms(spec, dense.form)
            kept = [o for o in others if timings.ms(spec, o.form) <= most]
            curves.append(replace(curve, options=(*kept, dense)))
        return replace(self, curves=tuple(curves))

    def learned(self, ratios: Mapping[tuple[str, str], float]) -> Curves:
        """The curves with the losses of some layers' options multiplied, by layer and family."""
        curves = [
            replace(c, options=tuple(o.times(ratios.get((name, o.family), 1.0)) for o in c.options))
            for c in self.curves
            for name in [c.site.name]
        ]
        return replace(self, curves=tuple(curves))

    def without(self, reasons: Mapping[str, str]) -> Curves:
        """The curves with some layers no longer factored; they may still lose channels."""
        coupled = {name for curve in self.groups for name in curve.group.members}
        curves = []
        for curve in self.curves:
            if curve.site.name not in reasons:
                curves.append(curve)
            elif curve.site.name in coupled:
                plain = tuple(o for o in curve.options if o.form.is_plain)
                curves.append(replace(curve, options=plain))
        specs = {curve.site.name: self.specs[curve.site.name] for curve in curves}
        dense = {**self.dense, **reasons}
        return replace(self, curves=tuple(curves), specs=specs, dense=dense)

    def __str__(self) -> str:
        count = sum(len(curve.options) for curve in self.curves)
        number = len(self.groups)
        coupled = f", {number} group{'s' * (number > 1)} of channels" if number else ""
        sites = f"{count} options at {len(self.curves)} sites{coupled}"
        return f"{sites}; {len(self.dense)} layers stay dense{said_of_few(self.scarce)}"

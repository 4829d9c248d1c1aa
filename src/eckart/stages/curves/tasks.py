"""The tasks that ``curves`` is made of. Each title names what the result depends on.

A result depends on the network and the calibration data too, of which titles say nothing: what is
kept is beside the moments, or in a folder under their digest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from eckart.methods import (
    Method,
    Rounding,
    Selection,
    methods_named,
    prepared_as,
    removals,
    title_of,
)
from eckart.metrics import Probe
from eckart.network.channel_groups import Coupling, coupling
from eckart.records import ChannelGroup, GroupCurve, LayerSpec, Offer, Option
from eckart.stages.curves.codes import coded_options
from eckart.stages.curves.layer_options import narrow_options
from eckart.stages.curves.measured import compared, removal_scales
from eckart.stages.curves.packing import PackedOptions
from eckart.stages.curves.problems import Bench
from eckart.storage.digests import digest_of_json
from eckart.tasks import Task
from eckart.tasks.task import Text


@dataclass(frozen=True)
class Ranked:
    """A group's units, the one to keep longest first, and the loss of each number of them."""

    order: Int64[Tensor, " units"]
    losses: Float64[Tensor, " sizes"]


@dataclass(frozen=True)
class Scales:
    """What the losses of each group are multiplied by."""

    scales: Float64[Tensor, " groups"]


def state_task(bench: Bench, spec: LayerSpec, method: Method) -> Task:
    """What a method prepares for a layer at full width; kept under its usual title."""
    problem = bench.problem(spec.name)
    title = title_of(method, problem)
    groups, out, inputs = problem.piece.moment_shape
    size = float(groups * (out + inputs) ** 3)
    return Task(
        title,
        method.state,
        partial(_prepared, bench, spec.name, method),
        sent=lambda: partial(_prepared, bench.part([spec.name]), spec.name, method),
        paths=bench.paths,
        device=problem.weight.device,
        size=size,
    )


def _prepared(bench: Bench, layer: str, method: Method) -> object:
    return method.prepare(bench.problem(layer))


def coupling_task(bench: Bench, dense: Mapping[str, str]) -> Task:
    """The channel groups; they are kept if none was given up because time was up."""
    title = f"channel groups and units {_digest(sorted(dense))}"

    def work() -> Text:
        moments = bench.moments
        found = coupling(
            bench.model,
            moments.example,
            dense=dense,
            sample=moments.sample,
            whole=moments.whole_batches,
            calls=moments.calls,
        )
        groups = [group.as_json() for group in found.groups]
        return Text(json.dumps({"groups": groups, "refused": dict(found.refused)}))

    lasting = lambda text: not coupled_in(text).late  # noqa: E731
    return Task(title, Text, work, lasting=lasting, size=float("inf"))


def coupled_in(text: Text) -> Coupling:
    """The channel groups again."""
    data = json.loads(text.text)
    return Coupling(tuple(map(ChannelGroup.from_json, data["groups"])), data["refused"])


def ranking_task(bench: Bench, group: ChannelGroup, selection: Selection) -> Task:
    """The units of a group in the order in which they stay."""
    titles = [bench.problem(name).title for name in group.readers]
    named = f"{type(selection).__module__}.{selection.name}"
    title = f"{group.name} ranked {_digest([named, titles, group.as_json()])}"
    size = sum(float(bench.problem(name).piece.moment_shape[2]) ** 3 for name in group.readers)
    return Task(
        title,
        Ranked,
        partial(_ranked, bench, group, selection),
        sent=lambda: partial(_ranked, bench.part(group.readers), group, selection),
        paths=bench.paths,
        size=size,
    )


def _ranked(bench: Bench, group: ChannelGroup, selection: Selection) -> Ranked:
    found = removals(selection, bench.readings(group))
    return Ranked(torch.tensor(found.order, dtype=torch.int64), found.losses.cpu())


def coherence_task(
    bench: Bench,
    groups: Sequence[GroupCurve],
    options: Mapping[str, Sequence[Option]],
    metric: Probe | None,
    progress: bool | None,
) -> Task:
    """How much more removals cost than the prediction says, beside factors."""
    halves = compared(bench, groups, options)
    factors = [option and [option.method, option.loss] for _, option in halves]
    measured = [[g.group.name, digest_of(g), list(g.losses.values())] for g in groups]
    inputs = [measured, factors, bench.titles(name for name, _ in halves)]
    title = "" if metric is not None else f"removals measured by kind {_digest(inputs)}"

    def work() -> Scales:
        found = removal_scales(bench, groups, options, metric, progress)
        return Scales(torch.tensor(found, dtype=torch.float64))

    return Task(title, Scales, work, size=float("inf"))


@dataclass(frozen=True)
class Narrower:
    """What one layer's options with fewer channels, and in codes, are made from.

    Attributes:
        whole: its options at full width that may be used.
        methods: those to ask at other widths.
        groups: the curves of the groups that it reads and writes.
        digests: of these.
        offer: what may be done.
        widths: of codes.
        of_parts: those of codes of factors and of narrower layers.
    """

    whole: Sequence[Option]
    methods: Sequence[Method]
    groups: Sequence[GroupCurve]
    digests: Sequence[str]
    offer: Offer
    widths: Sequence[int]
    of_parts: Sequence[int]

    def options(self, bench: Bench, spec: LayerSpec) -> PackedOptions:
        """The options."""
        found: list[Option] = []
        if self.widths:
            found += coded_options(bench, spec, self.whole if self.of_parts else [], self.widths)
        found += narrow_options(
            bench, spec, self.methods, self.groups, self.offer.allows, self.of_parts
        )
        return PackedOptions.of(found)

    @property
    def inputs(self) -> list[object]:
        """What the options depend on, besides problems."""
        offer, made = self.offer, sorted({option.method for option in self.whole})
        names = [[method.name, prepared_as(method)] for method in self.methods]
        numbers = [offer.multiple, offer.least_rank, list(offer.widths)]
        coded = [list(self.widths), list(self.of_parts), made if self.of_parts else []]
        return [names, numbers, coded, list(self.digests)]


def narrow_task(bench: Bench, spec: LayerSpec, narrower: Narrower) -> Task:
    """The options of a layer that loses channels, or is in codes."""
    read = [name for curve in narrower.groups for name in curve.group.readers]
    titles = bench.titles([spec.name, *read])
    title = f"{spec.name} made narrower {_digest([narrower.inputs, titles])}"
    groups, out, inputs = bench.problem(spec.name).piece.moment_shape
    size = float(groups * (out + inputs) ** 3) * (1 + len(narrower.groups))

    def sent() -> Callable[[], PackedOptions]:
        problem, made = bench.problem(spec.name), {option.method for option in narrower.whole}
        states = [title_of(Rounding(), problem)]
        if narrower.of_parts:
            states += [title_of(method, problem) for method in methods_named(sorted(made))]
        return partial(narrower.options, bench.part([spec.name, *read], states), spec)

    return Task(
        title,
        PackedOptions,
        partial(narrower.options, bench, spec),
        sent=sent,
        paths=bench.paths,
        size=size,
    )


def touching(groups: Sequence[GroupCurve], layer: str) -> list[GroupCurve]:
    """The groups that a layer reads or writes."""
    return [curve for curve in groups if layer in curve.group.members]


def digest_of(curve: GroupCurve) -> str:
    """A short hash of a group's units, their order and the numbers that may stay."""
    return _digest([curve.group.as_json(), list(curve.order), curve.sizes])


def _digest(value: object) -> str:
    return digest_of_json(value)[:24]

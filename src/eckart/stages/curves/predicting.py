"""The steps of ``curves``, each of which is a number of tasks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from eckart.methods import methods_named, selection_named
from eckart.metrics import Probe
from eckart.network.channel_groups import Coupling
from eckart.records import ChannelGroup, GroupCurve, LayerSpec, Offer, Option
from eckart.records.offer import AUTO
from eckart.records.offered import ROUNDING, Offered
from eckart.stages.curves.group_curves import Steps, group_curve
from eckart.stages.curves.layer_options import useful_methods, whole_options
from eckart.stages.curves.problems import Bench
from eckart.stages.curves.tasks import (
    Narrower,
    coherence_task,
    coupled_in,
    coupling_task,
    digest_of,
    narrow_task,
    ranking_task,
    state_task,
    touching,
)
from eckart.tasks import Task, Workers, results_of

Whole = Mapping[str, Sequence[Option]]


@dataclass(frozen=True)
class Predicting:
    """Options and their losses, found by tasks.

    Attributes:
        bench: what losses are computed from.
        specs: the layers.
        offer: what may be done to them.
        methods: those that are offered.
        workers: who works on the tasks.
        progress: show bars.
    """

    bench: Bench
    specs: Mapping[str, LayerSpec]
    offer: Offer
    methods: Offered
    workers: Workers
    progress: bool | None

    @property
    def probe(self) -> Probe | None:
        """What changes are measured in, if the user gave it."""
        given = self.offer.rescale
        return None if isinstance(given, bool) else given

    def at_full_width(self, dense: Mapping[str, str]) -> tuple[Coupling, dict[str, list[Option]]]:
        """The groups of channels, and every layer's options with all channels."""
        selects = selection_named(self.methods.methods) is not None
        first = [coupling_task(self.bench, dense)] if selects else []
        offered = methods_named(self.methods.methods)
        asked = {
            (spec.name, method.name): (spec, method)
            for spec in self.specs.values()
            for method in offered
            if method.applies(spec.piece)
        }
        tasks = {key: state_task(self.bench, spec, method) for key, (spec, method) in asked.items()}
        keys = {id(task): key for key, task in tasks.items()}
        coupled, options = Coupling((), {}), dict[tuple[str, str], list[Option]]()
        with self._done([*first, *tasks.values()], "predicting losses") as results:
            for task, result in results:
                if id(task) not in keys:
                    coupled = coupled_in(result)
                    continue
                spec, method = asked[keys[id(task)]]
                options[keys[id(task)]] = whole_options(self.bench, spec, method, result)
        return coupled, {
            name: [o for method in offered for o in options.get((name, method.name), [])]
            for name in self.specs
        }

    def groups(self, coupled: Coupling) -> list[GroupCurve]:
        """The curves of the groups, as predicted."""
        selection = selection_named(self.methods.methods)
        if selection is None:
            return []
        tasks = [ranking_task(self.bench, group, selection) for group in coupled.groups]
        ranked: dict[int, Any] = {}
        with self._done(tasks, "ranking channels") as results:
            ranked = {id(task): result for task, result in results}
        found = [ranked[id(task)] for task in tasks]
        return [
            group_curve(
                self.bench,
                group,
                selection.name,
                ranks.order.tolist(),
                ranks.losses.tolist(),
                Steps(_units(self.offer.multiple, group), not _between(group, coupled.groups)),
            )
            for group, ranks in zip(coupled.groups, found, strict=True)
        ]

    def at_other_widths(
        self, groups: Sequence[GroupCurve], whole: Whole
    ) -> tuple[list[GroupCurve], dict[str, list[Option]]]:
        """The groups' curves as measured, and every layer's options with fewer channels or bits."""
        shown = self.progress if self.workers == 1 else False
        measure = coherence_task(self.bench, groups, whole, self.probe, shown)
        digests = {curve.group.name: digest_of(curve) for curve in groups}
        inputs = {n: self._narrower(n, groups, digests, whole[n]) for n in self.specs}
        tasks = {
            name: narrow_task(self.bench, self.specs[name], narrower)
            for name, narrower in inputs.items()
            if narrower.groups or narrower.widths
        }
        names = {id(task): name for name, task in tasks.items()}
        options: dict[str, list[Option]] = {name: [] for name in self.specs}
        scales = [1.0] * len(groups)
        every = [*([measure] if groups else []), *tasks.values()]
        with self._done(every, "… with fewer channels") as results:
            for task, result in results:
                if task is measure:
                    scales = result.scales.tolist()
                else:
                    options[names[id(task)]] = result.options()
        return [group.times(by) for group, by in zip(groups, scales, strict=True)], options

    def _narrower(
        self,
        name: str,
        groups: Sequence[GroupCurve],
        digests: Mapping[str, str],
        whole: Sequence[Option],
    ) -> Narrower:
        offer, known = self.offer, offer_limits_are_known(self.offer)
        widths = offer.widths if ROUNDING in self.methods.methods else ()
        offered = methods_named(self.methods.methods)
        unsure = () if known else self.methods.only_for
        near = touching(groups, name)
        return Narrower(
            whole=[option for option in whole if offer.allows(option.form)],
            methods=useful_methods(offered, whole, unsure),
            groups=near,
            digests=[digests[curve.group.name] for curve in near],
            offer=offer,
            widths=widths,
            of_parts=widths if known else (),  # they take as long as all the rest
        )

    def _done(
        self, tasks: Sequence[Task], what: str
    ) -> AbstractContextManager[Iterator[tuple[Task, Any]]]:
        return results_of(
            tasks,
            self.bench.cache,
            self.workers,
            what=what,
            progress=self.progress,
        )


def offer_limits_are_known(offer: Offer) -> bool:
    """Whether it is known which costs will be limited."""
    return offer.limits != AUTO


def _units(multiple: int, group: ChannelGroup) -> int:
    """How many units have a multiple of so many channels in every layer."""
    sides = (group.writers, group.readers)
    sizes = {len(unit) for side in sides for units in side.values() for unit in units}
    return multiple // math.gcd(multiple, *sizes)


def _between(group: ChannelGroup, groups: Sequence[ChannelGroup]) -> bool:
    """Whether some layer stands between this group and another: it has options for every pair."""
    others = [other for other in groups if other is not group]
    return any(
        set(group.readers) & set(other.writers) or set(group.writers) & set(other.readers)
        for other in others
    )

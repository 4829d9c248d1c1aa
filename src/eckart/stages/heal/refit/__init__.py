"""Error-corrected refit: solve every layer again for the inputs that it really gets.

Layers are solved in the order in which they run, with inputs ``x̃`` from the smaller network and
targets ``t`` from the teacher: ``M = C R⁻¹``, in the form that the layer has, where
``R = (1 − ρ) E[x̃ x̃ᵀ] + ρ A`` and ``C = (1 − ρ) E[t x̃ᵀ] + ρ W A``. It has a closed form and needs
no labels.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, final

import torch
from torch import nn

from eckart.layers import Factored, piece_of, type_of, weights_of
from eckart.running.batches import inputs_of
from eckart.running.masks import masks_of
from eckart.running.progress import tracked
from eckart.stages.heal.channels import channel_axis, is_what_is_left, kept_channels
from eckart.stages.heal.refit.fits import refined, solved
from eckart.stages.heal.refit.flow import Flow, flow_of, is_layer
from eckart.stages.heal.refit.sites import Candidate, Site
from eckart.stages.heal.refit.sums import Quadratic, Sums
from eckart.stages.heal.refit.targets import target
from eckart.stages.heal.treatments import Case

_CODED = (
    "all layers in common with the teacher are in codes, and a new weight has none: use 'correct' "
    "or 'distil', or refit what eckart.merge makes of the network"
)


@final
@dataclass(frozen=True)
class Refit:
    """Solves one layer after another, with one pass over the data for each run of layers.

    Four things are chosen per layer by the quadratic loss on the held-out examples, whose sums are
    gathered once: the share ρ of the prior, whether the bias is free, whether the factors are
    refined together, and whether the layer changes at all.

    Attributes:
        name: name in the registry.
        shares: values of ρ to choose from. Without held-out examples the second is taken; without
            moments there is no prior, and ρ is 0.
        steps: number of L-BFGS steps that refine all factors of a layer together.
        rounds: most sweeps over the network; a sweep that does not help is the last.
    """

    name: str = "refit"
    shares: tuple[float, ...] = (0.0, 0.1, 0.5)
    steps: int = 40
    rounds: int = 2

    def needs(self, case: Case) -> str | None:
        """It needs a layer that the teacher has too."""
        if _matched(case):
            return None
        coded = any(isinstance(m, Factored) and m.form.bits for m in case.student.modules())
        return _CODED if coded else "no layer in common with the teacher"

    @torch.no_grad()
    def treat(self, case: Case) -> None:
        """Sweep over the network until a sweep does not help."""
        flow = flow_of(case.teacher, case.student, inputs_of(next(iter(case.batches))))
        if flow.graph is None:
            case.remark(f"plain targets: the network cannot be traced ({flow.problem})")
        layers = _matched(case)
        runs = [[n for n in run if n in layers] for run in flow.runs()]
        for round_ in range(self.rounds):
            changed = 0
            for run in tracked(runs, f"refitting, round {round_ + 1}", case.progress, len(runs)):
                changed += self._refitted(case, flow, run) if run else 0
            note = f"round {round_ + 1}: {changed} of {len(layers)} layers, {len(runs)} passes"
            if not case.offer(case.student, note).best:
                return

    def _refitted(self, case: Case, flow: Flow, names: Sequence[str]) -> int:
        """Refit the layers of one run in place; returns how many changed."""
        sites = {name: Site.of(case, flow.tails[name], name) for name in names}
        gathered = [_gathered(case, flow, sites, part) for part in (case.batches, case.held_out)]
        return sum(
            self._chosen(case, site, fit, gathered[1].get(name))
            for name, site in sites.items()
            if (fit := gathered[0].get(name)) is not None
        )

    def _chosen(self, case: Case, site: Site, fit: Quadratic, held: Quadratic | None) -> bool:
        """Install the best of all candidates; returns whether it is a new one."""
        g, prior, judged = site.metric(case), site.prior(case), held or fit

        def loss(candidate: Candidate) -> float:
            return candidate.loss(site.layer, judged, g)

        now, closed = Candidate(weights_of(site.module), site.bias()), []
        for share, free in self._choices(site, prior, held):
            q = fit if prior is None or share == 0 else fit.mixed(prior, share)
            unbiased = q.centred() if free else q.shifted(now.bias)
            weights = solved(site.layer, now.weights, unbiased, g)
            closed.append((site.candidate(weights, q, free), q, unbiased, free))
        best, q, unbiased, free = min(closed, key=lambda item: loss(item[0]))
        rivals = [now, best]
        if self.steps and not site.layer.is_solved_exactly:
            weights = refined(site.layer, best.weights, unbiased, g, self.steps)
            rivals.append(site.candidate(weights, q, free))
        chosen = min(rivals, key=loss)
        site.install(chosen)
        return chosen is not now

    def _choices(
        self, site: Site, prior: Quadratic | None, held: Quadratic | None
    ) -> list[tuple[float, bool]]:
        """Pairs of a share of the prior and a free bias or not; only one if nothing is held out."""
        if held is None:
            return [(0.0 if prior is None else self.shares[1], False)]
        shares = (0.0,) if prior is None else self.shares
        return list(product(shares, (False, True) if site.has_bias else (False,)))


def _gathered(
    case: Case, flow: Flow, sites: Mapping[str, Site], batches: Iterable[Any]
) -> dict[str, Quadratic]:
    """The quadratics of some layers, from one pass of both networks over some batches."""
    sums = {name: Sums(_plain(site.module)) for name, site in sites.items()}
    norms = {name: site.ours for name, site in sites.items()}
    for batch in batches:
        inputs = inputs_of(batch)
        masks = masks_of(inputs)
        theirs, ours = (
            flow.values(net, inputs, list(sites)) for net in (case.teacher, case.student)
        )
        for name, site in sites.items():
            if name not in theirs or name not in ours:
                continue
            mine = ours[name]
            axis = channel_axis(site.module, mine.y)
            wanted = target(theirs[name], mine, site.tail, site.kept, norms[name], axis)
            sums[name].add(mine.x, wanted, masks)
    found = {name: part.quadratic() for name, part in sums.items()}
    return {name: quadratic for name, quadratic in found.items() if quadratic is not None}


def _plain(module: nn.Module) -> nn.Module:
    return module.merge() if isinstance(module, Factored) else copy.deepcopy(module)


def _matched(case: Case) -> list[str]:
    """Layers of the smaller network that correspond to one of the teacher's."""
    dense = {n: m for n, m in case.teacher.named_modules() if n and type_of(m) is not None}
    layers = ((n, m) for n, m in case.student.named_modules() if is_layer(m) and n in dense)
    return [
        name
        for name, module in layers
        if not piece_of(dense[name]).transposed  # its outputs are sums over several rows
        and not piece_of(dense[name]).table  # its inputs are the same in both networks
        and not (isinstance(module, Factored) and module.form.bits)  # a new weight has no codes
        and is_what_is_left(module, dense[name], kept_channels(case.plan, case.teacher, name))
    ]

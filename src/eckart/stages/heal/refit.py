"""Error-corrected refit: every layer solved again for the inputs that it really gets.

Layer by layer in the order in which they run, with inputs ``x̃`` from the smaller network and
targets from the teacher, ``M = C R⁻¹`` of the form that the layer has, where
``R = (1 − ρ) E[x̃ x̃ᵀ] + ρ A`` and ``C = (1 − ρ) E[t x̃ᵀ] + ρ W A``. Closed form, no labels.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, cast, final

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from eckart.batches import inputs_of
from eckart.layers import Factored, as_matrix, bias_of, piece_of, type_of, weight_of
from eckart.linalg import damped
from eckart.progress import tracked
from eckart.stages.heal.channels import (
    Kept,
    channel_axis,
    entries,
    kept_channels,
    last_piece,
    narrowed_matrix,
)
from eckart.stages.heal.fits import Layer, Weights, refined, solved, weights_of
from eckart.stages.heal.flow import Flow, Tail, flow_of
from eckart.stages.heal.sums import Quadratic, Sums
from eckart.stages.heal.targets import Affine, target
from eckart.stages.heal.treatments import Case

_DAMPING = 1e-6  # of moments and of the pull towards the weights as they are


@final
@dataclass(frozen=True)
class Refit:
    """Closed form by closed form, one pass over the data for each run of layers.

    Each layer's share of the prior ρ, whether its bias is free, whether the factors are refined
    together, and whether it is changed at all, are chosen by the quadratic loss on the examples
    that are held out, from one gathering of sums.

    Attributes:
        name: in the registry.
        shares: ρ to choose from; without held-out examples or moments the second, or none.
        steps: of the refinement of all factors of a layer together.
        rounds: sweeps over the network; a sweep that did not help is the last.
    """

    name: str = "refit"
    shares: tuple[float, ...] = (0.0, 0.1, 0.5)
    steps: int = 40
    rounds: int = 2

    def needs(self, case: Case) -> str | None:
        """A layer that the teacher has too."""
        return None if _matched(case, case.student) else "no layer in common with the teacher"

    @torch.no_grad()
    def treat(self, case: Case) -> None:
        """Sweep after sweep."""
        flow = flow_of(case.teacher, case.student, inputs_of(next(iter(case.batches))))
        if flow.graph is None:
            case.remark(f"plain targets: the network cannot be traced ({flow.problem})")
        layers = _matched(case, case.student)
        runs = [[n for n in run if n in layers] for run in flow.runs()]
        for round_ in range(self.rounds):
            changed = 0
            for run in tracked(runs, f"refitting, round {round_ + 1}", case.progress, len(runs)):
                changed += self._refitted(case, flow, run) if run else 0
            note = f"round {round_ + 1}: {changed} of {len(layers)} layers, {len(runs)} passes"
            if not case.offer(case.student, note).best:
                return

    def _refitted(self, case: Case, flow: Flow, names: Sequence[str]) -> int:
        """Refit the layers of one run, in place; how many changed."""
        sites = {name: _Site.of(case, flow.tails[name], name) for name in names}
        gathered = [_gathered(case, flow, sites, part) for part in (case.batches, case.held_out)]
        return sum(
            self._chosen(case, site, fit, gathered[1].get(name))
            for name, site in sites.items()
            if (fit := gathered[0].get(name)) is not None
        )

    def _chosen(self, case: Case, site: _Site, fit: Quadratic, held: Quadratic | None) -> bool:
        """Put the best of all candidates into the layer; whether that is a new one."""
        g, prior = site.metric(case), site.prior(case)
        judged = held or fit
        now = _Candidate(weights_of(site.module), site.bias())
        best, least = now, now.loss(site.layer, judged, g)
        shares = [0.0] if prior is None else self.shares if held else self.shares[1:2]
        for share, free in product(shares, (False, True) if site.has_bias else (False,)):
            q = fit if prior is None or share == 0 else fit.mixed(prior, share)
            for candidate in self._candidates(site, q, g, free):
                loss = candidate.loss(site.layer, judged, g)
                if loss < least:
                    best, least = candidate, loss
        site.install(best)
        return best is not now

    def _candidates(self, site: _Site, q: Quadratic, g: Tensor, free: bool) -> Iterator[_Candidate]:
        """The closed form, and from there all factors together."""
        centred = q.centred() if free else q.shifted(site.bias())
        weights = solved(site.layer, weights_of(site.module), centred, g, _DAMPING)
        yield site.candidate(weights, q, free)
        if not site.layer.form.is_plain and not site.layer.is_low_rank and self.steps:
            weights = refined(site.layer, weights, centred, g, _DAMPING, self.steps)
            yield site.candidate(weights, q, free)


@dataclass(frozen=True)
class _Candidate:
    """Weights and bias that a layer may get."""

    weights: Weights
    bias: Float64[Tensor, "groups out"]

    def loss(self, layer: Layer, q: Quadratic, g: Tensor) -> float:
        """On some examples' quadratic."""
        return float(q.shifted(self.bias).loss(layer.matrix(self.weights), g))


@dataclass(frozen=True)
class _Site:
    """A layer of the smaller network beside the teacher's."""

    name: str
    module: nn.Module
    dense: nn.Module
    tail: Tail
    norm: nn.Module | None
    theirs: Affine
    kept: Kept
    layer: Layer

    @classmethod
    def of(cls, case: Case, tail: Tail, name: str) -> _Site:
        """The layer of a name."""
        module, dense = (net.get_submodule(name) for net in (case.student, case.teacher))
        norm = None if tail.norm is None else case.student.get_submodule(tail.norm)
        kept = kept_channels(case.plan, case.teacher, name)
        width, weight = piece_of(dense).outputs, weight_of(dense)
        other = None if tail.norm is None else case.teacher.get_submodule(tail.norm)
        affine = Affine.of(other, width, weight)
        theirs = Affine(kept.of(affine.scale, 0), kept.of(affine.shift, 0))
        return cls(name, module, dense, tail, norm, theirs, kept, Layer.of(module))

    @property
    def ours(self) -> Affine:
        """What the norm after this layer does now."""
        width = self.layer.matrix_shape[0] * self.layer.matrix_shape[1]
        return Affine.of(self.norm, width, weight_of(self.dense))

    @property
    def has_bias(self) -> bool:
        """Whether a bias can be had: the layer's own, or the norm's mean."""
        return self.norm is not None or bias_of(last_piece(self.module)) is not None

    def bias(self) -> Float64[Tensor, "groups out"]:
        """The layer's own bias; zeros where it has none."""
        bias = bias_of(last_piece(self.module))
        shape = self.layer.matrix_shape[:2]
        if bias is None:
            return torch.zeros(shape, dtype=torch.float64, device=weight_of(self.dense).device)
        return bias.detach().double().reshape(shape)

    def candidate(self, weights: Weights, q: Quadratic, free: bool) -> _Candidate:
        """Weights with the bias as it is, or the best one."""
        return _Candidate(weights, q.free_bias(self.layer.matrix(weights)) if free else self.bias())

    def install(self, candidate: _Candidate) -> None:
        """Put weights and bias in; without a bias of its own, the norm's mean takes it."""
        parts = self.module if isinstance(self.module, Factored) else [self.module]
        for part, weight in zip(parts, candidate.weights, strict=True):
            weight_of(part).copy_(weight)
        bias = bias_of(last_piece(self.module))
        if bias is not None:
            bias.copy_(candidate.bias.flatten())
        elif self.norm is not None:
            mean = cast(Tensor, self.norm.running_mean)
            mean.sub_(candidate.bias.flatten().to(mean))

    def metric(self, case: Case) -> Float64[Tensor, "groups out out"]:
        """``G`` at the outputs that are left; the identity without moments."""
        groups, out, _ = self.layer.matrix_shape
        if case.moments is None or self.name not in case.moments.specs:
            device = weight_of(self.dense).device
            return torch.eye(out, dtype=torch.float64, device=device).repeat(groups, 1, 1)
        g = case.moments.g(self.name).to(weight_of(self.dense).device)
        if self.kept.rows is not None:
            g = g[self.kept.rows] if len(g) > 1 else g[:, self.kept.rows][:, :, self.kept.rows]
        return damped(g, _DAMPING)

    def prior(self, case: Case) -> Quadratic | None:
        """What the teacher's own moments say: ``A`` and ``W A``, in this network's scale."""
        if case.moments is None or self.name not in case.moments.specs:
            return None
        device = weight_of(self.dense).device
        a, x = case.moments.a(self.name).to(device), case.moments.mean(self.name).to(device)
        w, bias = as_matrix(self.dense).double(), bias_of(self.dense)
        b = torch.zeros(w.shape[:2]).to(w) if bias is None else bias.detach().reshape(w.shape[:2])
        b = b.double()[..., None]
        wx, mean = w @ x[..., None], x[:, None]
        cross, t = w @ a + b @ mean, wx + b
        targets = w @ a @ w.mT + wx @ b.mT + b @ wx.mT + b @ b.mT
        return self._rescaled(self._narrowed(a, cross, targets, x, t[..., 0]))

    def _narrowed(
        self, a: Tensor, cross: Tensor, targets: Tensor, x: Tensor, t: Tensor
    ) -> Quadratic:
        """The part between the channels that are left."""
        rows, kept = self.kept.rows, self.kept
        cross = narrowed_matrix(cross, self.dense, kept)
        if rows is not None and len(a) > 1:  # depthwise: a group is a channel
            return Quadratic(a[rows], cross, targets[rows], x[rows], t[rows])
        if rows is not None:
            targets, t = targets[:, rows][:, :, rows], t[:, rows]
        if kept.columns is not None:
            columns = entries(self.dense, kept)
            a, x = a[:, columns][:, :, columns], x[:, columns]
        return Quadratic(a, cross, targets, x, t)

    def _rescaled(self, q: Quadratic) -> Quadratic:
        """From the teacher's output to what must enter this network's norm to give the same."""
        shape = self.layer.matrix_shape[:2]
        change = self.theirs.then(self.ours.inverse())
        scale, shift = (v.reshape(shape) for v in (change.scale, change.shift))
        scaled = Quadratic(
            q.gram,
            scale[..., None] * q.cross,
            scale[..., None] * q.targets * scale[:, None],
            q.x,
            scale * q.t,
        )
        return scaled.shifted(-shift)


def _gathered(
    case: Case, flow: Flow, sites: Mapping[str, _Site], batches: Iterable[Any]
) -> dict[str, Quadratic]:
    """The sums of some layers from one pass of both networks over some batches."""
    sums = {name: Sums(_plain(site.module)) for name, site in sites.items()}
    norms = {name: site.ours for name, site in sites.items()}
    for batch in batches:
        theirs, ours = (
            flow.values(net, inputs_of(batch), list(sites)) for net in (case.teacher, case.student)
        )
        for name, site in sites.items():
            if name not in theirs or name not in ours:
                continue
            mine = ours[name]
            axis = channel_axis(site.module, mine.y)
            wanted = target(theirs[name], mine, site.tail, site.kept, norms[name], axis)
            sums[name].add(mine.x, wanted)
    found = {name: part.quadratic() for name, part in sums.items()}
    return {name: quadratic for name, quadratic in found.items() if quadratic is not None}


def _plain(module: nn.Module) -> nn.Module:
    return module.merge() if isinstance(module, Factored) else copy.deepcopy(module)


def _matched(case: Case, student: nn.Module) -> list[str]:
    """Layers of the smaller network that stand for one of the teacher's."""
    dense = dict(case.teacher.named_modules())
    found = []
    for name, module in student.named_modules():
        known = name in dense and type_of(dense[name]) is not None
        if name and known and (isinstance(module, Factored) or type_of(module) is not None):
            found.append(name)
    return found

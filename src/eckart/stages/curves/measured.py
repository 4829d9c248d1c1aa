"""Measured over predicted change of the network's outputs, in the metric of the calibration.

``½ tr(G ΔW A ΔWᵀ)`` is of second order, and takes the errors of a layer at different positions as
independent. Two questions are asked of a few examples:

- How much more does a removal cost than the prediction says, beside factors? Errors of low-rank
  factors are nearly independent; a removed channel errs alike all over an image, and its errors add
  up. Each group's losses are multiplied by its ratio over the median of factors of half a layer's
  size (``removal_scales``, always).
- How much more, or less, does truncating each layer cost? Every layer is truncated at one rank,
  near half of its parameters, side by side with the others (``rescaled``, where asked for).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from statistics import geometric_mean, median

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eckart.errors import InputError
from eckart.layers import as_matrix, piece_of, rebuild, weight_from, weight_of
from eckart.linalg import quadratic_loss, refit
from eckart.methods import Problem
from eckart.metrics import Measurable, Probe
from eckart.moments.sampled import (
    FEWEST,
    Sampled,
    affordable,
    affordable_passes,
    few_of,
    measurable,
)
from eckart.network.third_party import copied_in, in_dtype
from eckart.records import GroupCurve, Option
from eckart.running.batches import mapped
from eckart.running.progress import tracked
from eckart.stages.curves.problems import Bench, half_sized
from eckart.stages.curves.side_by_side import SideBySide

_SHARES = (0.75, 0.5)  # of the units kept where removals are measured
_MOST = 50.0  # the ratio of a removal is believed up to this factor
_FURTHEST = 4.0  # and that of a truncation up to this
_TINY = 1e-12
_ALIKE = 5  # groups of a kind that are measured where all are too many
_READERS = 9  # layers at which factors are measured; their median counts


def removal_scales(
    bench: Bench,
    groups: Sequence[GroupCurve],
    options: Mapping[str, Sequence[Option]],
    metric: Probe | None = None,
    progress: bool | None = None,
) -> list[float]:
    """What the losses of removals are to be multiplied by, measured against those of factors.

    Without a sample of the data, or where the network does not react, it is 1.

    Cost: two forward passes per group and a few more, of the sample; or of fewer examples, and
        one pass per group, where the network is large. Where that is too much, some groups of each
        kind are measured, each beside factors of its own reader, and their kind has one factor.
    """
    if not bench.moments.sample or not groups:
        return [1.0] * len(groups)
    readers = compared(bench, groups, options)
    passes = len(_SHARES) * len(groups) + len(readers)
    examples = affordable(bench.moments, passes)
    trial = _Trial(bench, metric, examples, _SHARES if examples > FEWEST else _SHARES[-1:])
    if affordable_passes(bench.moments) < len(groups) + len(readers):
        return _scales_by_kind(trial, groups, options, progress)
    tried = tracked(groups, "measuring removals", progress, len(groups))
    removals = [_removal_ratio(trial, curve) for curve in tried]
    ratios = (_factor_ratio(trial, name, option) for name, option in readers)
    factors = [ratio for ratio in ratios if ratio]
    usual = median(factors or [r for r in removals if r] or [1.0])
    return [_bounded(r / usual, _MOST) if r else 1.0 for r in removals]


def _scales_by_kind(
    trial: _Trial,
    groups: Sequence[GroupCurve],
    options: Mapping[str, Sequence[Option]],
    progress: bool | None,
) -> list[float]:
    """One factor for all groups of equal blocks, the geometric mean over some of them.

    In deep networks what a change comes to depends on where it is, for factors as for removals. So
    both are measured at the same layer.
    """
    kinds: dict[tuple[object, ...], list[GroupCurve]] = {}
    for curve in groups:
        kinds.setdefault(_kind(trial.bench, curve), []).append(curve)
    some = [curve for own in kinds.values() for curve in own[:: math.ceil(len(own) / _ALIKE)]]
    ratios: dict[tuple[object, ...], list[float]] = {}
    for curve in tracked(some, "measuring removals", progress, len(some)):
        name = next(iter(curve.group.readers))
        option = half_sized(trial.bench.problem(name), options[name])
        removal, factors = _removal_ratio(trial, curve), _factor_ratio(trial, name, option)
        if removal and factors:
            ratios.setdefault(_kind(trial.bench, curve), []).append(removal / factors)
    scales = {kind: geometric_mean(found) for kind, found in ratios.items()}
    return [_bounded(scales.get(_kind(trial.bench, curve), 1.0), _MOST) for curve in groups]


def compared(
    bench: Bench, groups: Sequence[GroupCurve], options: Mapping[str, Sequence[Option]]
) -> list[tuple[str, Option | None]]:
    """Some of the layers that read groups, and the factors of half their size, if they have any."""
    readers = [name for curve in groups for name in curve.group.readers]
    some = readers[:: max(1, math.ceil(len(readers) / _READERS))]
    return [(name, half_sized(bench.problem(name), options[name])) for name in some]


def _kind(bench: Bench, curve: GroupCurve) -> tuple[object, ...]:
    """What groups of equal blocks have in common."""
    shapes = sorted(bench.problem(name).piece.weight_shape for name in curve.group.readers)
    return curve.group.size, *shapes


class _Trial:
    """A copy of the network that weights are tried in, and its outputs on some examples."""

    def __init__(
        self, bench: Bench, metric: Probe | None, examples: int, shares: Sequence[float]
    ) -> None:
        self.bench, self.shares, self.model = bench, shares, copy.deepcopy(bench.model)
        self.sampled = Sampled(self.model, bench.moments, examples, metric)

    @torch.no_grad()
    def change(self, weights: Mapping[str, Tensor]) -> float:
        """The change of the outputs in the metric with these weights in place."""
        layers = {name: self.model.get_submodule(name) for name in weights}
        before = {name: weight_of(layer).clone() for name, layer in layers.items()}
        for name, weight in weights.items():
            piece = piece_of(layers[name])
            stacked = weight.reshape(piece.matrix_shape)
            weight_of(layers[name]).copy_(weight_from(stacked, piece))
        found = self.sampled.finite_change(self.model)
        for name, weight in before.items():
            weight_of(layers[name]).copy_(weight)
        return found


def _removal_ratio(trial: _Trial, curve: GroupCurve) -> float | None:
    """Measured over predicted, mean over the sizes; None where nothing changes."""
    group, ratios = curve.group, []
    for share in trial.shares:
        size = min(curve.sizes[:-1], key=lambda k: abs(k - share * group.size), default=0)
        if size == 0 or curve.losses[size] <= _TINY:
            continue
        weights = {
            name: _masked(trial.bench.problem(name), group.columns(name, curve.order[size:]))
            for name in group.readers
        }
        change = trial.change(weights)
        if change > _TINY:
            ratios.append(change / curve.losses[size])
    return geometric_mean(ratios) if ratios else None


def _masked(problem: Problem, gone: Sequence[int]) -> Float[Tensor, "out in"]:
    """The weight refitted to the inputs that stay, zero at the others."""
    weight = problem.weight[0]
    block = weight.shape[1] // problem.piece.inputs
    stays = torch.ones(problem.piece.inputs, dtype=torch.bool, device=weight.device)
    stays[torch.tensor(list(gone), dtype=torch.int64, device=weight.device)] = False
    at = stays.repeat_interleave(block).nonzero().flatten()
    full = torch.zeros_like(weight)
    full[:, at] = refit(weight, problem.a[0], at, seen=problem.seen[0], check=False)
    return full


def _factor_ratio(trial: _Trial, name: str, option: Option | None) -> float | None:
    """The same for factors of half the layer's size, by the last method that has them."""
    problem, layer = trial.bench.problem(name), trial.bench.layers[name]
    if option is None:
        return None
    merged = rebuild(layer, option.form, trial.bench.built(problem, option)).merge()
    weight = as_matrix(merged).double()
    loss = quadratic_loss(weight - problem.weight, problem.a, problem.g)
    change = trial.change({name: weight})
    return change / loss if min(loss, change) > _TINY else None


def rescaled(
    bench: Bench,
    options: Mapping[str, Sequence[Option]],
    metric: Probe | None = None,
    progress: bool | None = None,
) -> dict[str, float]:
    """Measured over predicted change of the outputs for each layer, between 1/4 and 4.

    The change is that of the metric: the divergence in nats for next tokens and the Fisher, half
    the squared change for logits and embeddings, per output as the losses are. It is measured in
    float32, and that of two equal runs is subtracted. A layer whose change drowns in that, or that
    does not see the examples one after the other, gets the median of the others.

    Args:
        bench: the network and its moments.
        options: each layer's at full width.
        metric: the probe that the moments were gathered with; None looks it up by its name.
        progress: show a bar; None shows it on a terminal.

    Raises:
        InputError: the moments carry no sample, or the metric cannot be measured.

    Cost: forward passes of about as many examples as there were in the calibration, or of one for
        each layer where those are more.
    """
    probe = _measurable(bench, metric)
    model = copied_in(bench.model, torch.float32)
    predicted, truncated = dict[str, float](), dict[str, nn.Module]()
    for name, offered in options.items():
        problem = bench.problem(name)
        option = half_sized(problem, offered)
        if option is not None and option.loss > 0:
            weights = bench.built(problem, option)
            built = rebuild(model.get_submodule(name), option.form, weights)
            predicted[name], truncated[name] = option.loss, built.eval()
    changes, outputs = dict.fromkeys(truncated, 0.0), 0
    each = max(1, bench.moments.examples // max(1, len(truncated)))
    whole = bench.moments.whole_batches
    few = few_of(bench.moments.sample, each, whole)
    for inputs in (mapped(x, lambda t: in_dtype(t, torch.float32)) for x in few):
        beside = SideBySide(model, truncated, probe, inputs, alone=whole)
        for names in tracked(beside.chunks, "measuring truncations", progress, len(beside.chunks)):
            for name, change in beside.changes(names).items():
                changes[name] += change
        outputs += beside.count
    ratios = {n: changes[n] / outputs / predicted[n] for n in changes if changes[n] > 0}
    clipped = {name: _bounded(ratio, _FURTHEST) for name, ratio in ratios.items()}
    usual = median(clipped.values()) if clipped else 1.0
    return {name: clipped.get(name, usual) for name in options}


def _measurable(bench: Bench, metric: Probe | None) -> Measurable:
    probe = measurable(bench.moments, metric)
    if probe is None:
        raise InputError(
            f"the change of the outputs cannot be measured in the metric {bench.moments.metric}: "
            "pass rescale= the probe that the moments were gathered with, if it has observed and "
            "change"
        )
    if not bench.moments.sample:
        raise InputError("the moments carry no sample to measure changes on: calibrate again")
    return probe


def _bounded(ratio: float, most: float) -> float:
    """Measured over predicted, believed up to a factor either way."""
    return min(max(ratio, 1 / most), most)

"""How much more a removal costs than its second moments say, measured on a few examples.

``½ tr(G ΔW A ΔWᵀ)`` takes the errors of a layer at different positions as independent. Those of
low-rank factors nearly are; a removed channel errs alike all over an image, and its errors add up.
So the predicted losses of removals are multiplied by one number per group: measured change of the
network's output over predicted, relative to the median over factors of half a layer's size.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from statistics import geometric_mean, median
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eckart.layers import rebuild, weight_of
from eckart.linalg import quadratic_loss, refit
from eckart.methods import Problem
from eckart.records import GroupCurve, Option
from eckart.running.batches import call, moved, tensors_in
from eckart.running.hooks import untouched
from eckart.running.progress import tracked
from eckart.stages.curves.problems import Bench, half_sized

_SHARES = (0.75, 0.5)  # of the units kept where removals are measured
_MOST = 50.0  # neither ratio is believed beyond this factor
_TINY = 1e-12


def coherent(
    bench: Bench,
    groups: Sequence[GroupCurve],
    options: Mapping[str, Sequence[Option]],
    progress: bool | None = None,
) -> list[GroupCurve]:
    """The curves with the losses of removals measured against those of factors.

    Without a sample of the data, or where the network does not react, they are as they were.

    Cost: three or four forward passes of the sample per group.
    """
    if not bench.moments.sample or not groups:
        return list(groups)
    trial = _Trial(bench)
    removals, factors = [], list[float]()
    for curve in tracked(groups, "measuring removals", progress, len(groups)):
        removals.append(_removal_ratio(trial, curve))
        ratios = (_factor_ratio(trial, name, options[name]) for name in curve.group.readers)
        factors += [ratio for ratio in ratios if ratio]
    usual = median(factors or [r for r in removals if r] or [1.0])
    scales = [min(max(r / usual, 1 / _MOST), _MOST) if r else 1.0 for r in removals]
    return [curve.times(scale) for curve, scale in zip(groups, scales, strict=True)]


class _Trial:
    """A copy of the network that weights are tried in, and its outputs on the sample."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.model = copy.deepcopy(bench.model)
        self.outputs = self._run()

    @torch.no_grad()
    def change(self, weights: Mapping[str, Tensor]) -> float:
        """Mean squared change of the outputs with these weights in place."""
        layers = {name: self.model.get_submodule(name) for name in weights}
        before = {name: weight_of(layer).clone() for name, layer in layers.items()}
        for name, weight in weights.items():
            weight_of(layers[name]).copy_(weight.reshape(before[name].shape))
        found = self._run()
        for name, weight in before.items():
            weight_of(layers[name]).copy_(weight)
        pairs = zip(found, self.outputs, strict=True)
        return float(sum((a - b).square().sum() for a, b in pairs))

    @torch.no_grad()
    def _run(self) -> list[Tensor]:
        with untouched(self.model):
            return [t for part in self.bench.moments.sample for t in self._outputs(part)]

    def _outputs(self, inputs: Any) -> list[Tensor]:
        found = tensors_in(call(self.model, moved(inputs, self.model)))
        return [t.double() for t in found if t.is_floating_point()]


def _removal_ratio(trial: _Trial, curve: GroupCurve) -> float | None:
    """Measured over predicted, mean over two sizes; None where nothing changes."""
    group, ratios = curve.group, []
    for share in _SHARES:
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
    full[:, at] = refit(weight, problem.a[0], at)
    return full


def _factor_ratio(trial: _Trial, name: str, options: Sequence[Option]) -> float | None:
    """The same for factors of half the layer's size, by the last method that has them."""
    problem, layer = trial.bench.problem(name), trial.bench.layers[name]
    option = half_sized(problem, options)
    if option is None:
        return None
    merged = rebuild(layer, option.form, trial.bench.built(problem, option)).merge()
    weight = weight_of(merged).detach().double().reshape(problem.weight.shape)
    loss = quadratic_loss(weight - problem.weight, problem.a, problem.g)
    change = trial.change({name: weight})
    return change / loss if min(loss, change) > _TINY else None

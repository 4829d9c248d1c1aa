"""Outputs of convolutions keep their size, where this brings the network closer to the dense one.

What least squares cannot fit, it leaves out, so the outputs of a layer become smaller. The
predicted loss is least with that, because it takes the errors at the positions of a map as
independent. Probably they shrink together, layer after layer, while shifts and norms behind them
stay as they are. Multiplied so that the mean square of its outputs is what it was, a layer loses a
little more by the prediction, by the square of its relative loss, and a network of convolutions
much less in fact. Where positions are not summed it can be worse, so it is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import torch
from torch import Tensor, nn

from eckart.layers import Factored, FewBits, as_matrix, weight_of
from eckart.moments import Moments
from eckart.moments.sampled import Sampled, affordable
from eckart.records import Plan

_MOST = 2.0  # what weights are multiplied by
_LEAST = 1e-3  # of one; nothing is measured where all weights are multiplied by less
_PASSES = 3  # of the dense network, and of the smaller one with both sizes


@dataclass(frozen=True)
class Sizes:
    """The dense network, as far as it is needed when the smaller one is made.

    Attributes:
        squares: the mean square of the outputs that stay, summed over them, by layer.
        sampled: its outputs on a few examples; None if there is nothing to measure.
    """

    squares: dict[str, float]
    sampled: Sampled | None

    @classmethod
    def of(cls, model: nn.Module, whole: nn.Module, plan: Plan, moments: Moments) -> Sizes:
        """The sizes that the convolutions of a plan have in the dense network.

        In a network with one of them, least squares is best.

        Args:
            model: the dense network.
            whole: the same with its modules opened.
            plan: what will be done to it.
            moments: of the dense network.
        """
        names = [name for name in plan.choices if _is_fitted(name, plan, moments)]
        if len(names) < 2 or not moments.sample:
            return cls({}, None)
        squares = {name: _dense_square(whole, name, plan, moments) for name in names}
        return cls(squares, Sampled(model, moments, affordable(moments, _PASSES)))

    @torch.no_grad()
    def kept(self, smaller: nn.Module, plan: Plan, moments: Moments) -> Plan:
        """The plan as it was done, after the weights were multiplied in place if that is closer."""
        layers = {n: smaller.get_submodule(n) for n in self.squares if n not in plan.dense}
        ratios = {
            name: square / found
            for name, square in self.squares.items()
            if name in layers and (found := _square(layers[name], name, plan, moments)) > 0
        }
        scales = {name: min(sqrt(ratio), _MOST) for name, ratio in ratios.items()}
        if self.sampled is None or max([0.0, *scales.values()]) < 1 + _LEAST:
            return plan
        before = self.sampled.change(smaller)
        weights = {name: _scaled_weight(layers[name]) for name in scales}
        copies = {name: weight.clone() for name, weight in weights.items()}
        for name, weight in weights.items():
            weight.mul_(scales[name])
        if self.sampled.change(smaller) < before:
            return replace(plan, scaled=scales)
        for name, weight in weights.items():
            weight.copy_(copies[name])
        return plan


def _is_fitted(name: str, plan: Plan, moments: Moments) -> bool:
    """Whether a layer is a convolution that gets factors or fewer inputs, not codes alone."""
    form, piece = plan.choices[name].form, moments.specs[name].piece
    fewer_inputs = form.pieces[0].inputs < piece.inputs
    fewer_outputs = form.pieces[-1].outputs < piece.outputs
    fitted = len(form.pieces) > 1 or (fewer_inputs and not form.bits)
    return bool(piece.kernel) and fitted and (piece.groups == 1 or not fewer_outputs)


def _dense_square(whole: nn.Module, name: str, plan: Plan, moments: Moments) -> float:
    """The mean square of a dense layer's outputs, without those that are removed."""
    weight, piece = as_matrix(whole.get_submodule(name)).double(), moments.specs[name].piece
    for removal in plan.removals.values():
        if name in removal.group.writers:
            rows = removal.group.rows_left(name, removal.kept, piece.outputs)
            weight = weight[:, _entries(rows, piece.blocks[0])]
    return _mean_square(weight, moments.a(name))


def _square(module: nn.Module, name: str, plan: Plan, moments: Moments) -> float:
    """The mean square of the outputs of what stands for a layer, on the dense network's inputs."""
    a, piece = moments.a(name), moments.specs[name].piece
    for removal in plan.removals.values():
        if name in removal.group.readers:
            columns = removal.group.columns_left(name, removal.kept, piece.inputs)
            at = _entries(columns, piece.blocks[1])
            a = moments.a(name)[:, at][:, :, at]
    plain = module.merge() if isinstance(module, Factored) else module
    return _mean_square(as_matrix(plain).double(), a)


def _mean_square(weight: Tensor, a: Tensor) -> float:
    """``tr(W A Wᵀ)``, summed over groups."""
    return float(((weight @ a.to(weight.device)) * weight).sum())


def _entries(channels: Sequence[int], block: int) -> Tensor:
    """The rows or columns of a matrix that belong to some channels."""
    starts = torch.tensor(list(channels), dtype=torch.int64)
    return (starts[:, None] * block + torch.arange(block)).flatten()


def _scaled_weight(module: nn.Module) -> Tensor:
    """The tensor that the outputs of a layer, without its bias, are proportional to."""
    first = module[0] if isinstance(module, Factored) else module
    return first.scale if isinstance(first, FewBits) else weight_of(first)

"""Torch-Pruning unchanged: one shot, global, only on the channels inside the chains."""

import copy

import torch
import torch_pruning
from torch import Tensor, nn

from benchmarks.measuring.counts import count_params
from benchmarks.peers.calibration import Calibration, parameter_gradients
from benchmarks.peers.forms import layer_at
from benchmarks.peers.ranks import check_reachable
from benchmarks.subjects.networks import channel_chains


class _OneStays:
    """The library's importance, but each layer's best channel is never pruned.

    The library leaves a layer whole when all its channels fall below the global threshold, so
    small budgets could not be reached.
    """

    def __init__(self, importance: torch_pruning.importance.Importance) -> None:
        self.importance = importance

    def __call__(self, group: torch_pruning.Group) -> Tensor:
        scores: Tensor = self.importance(group).clone()
        scores[scores.argmax()] = torch.inf
        return scores


def torch_pruning_l2(model: nn.Module, calibration: Calibration, keep: float) -> nn.Module:
    """`MagnitudeImportance(p=2)` with the library's defaults. Source: DepGraph (2301.12900)."""
    importance = torch_pruning.importance.MagnitudeImportance(p=2)
    return _smallest_pruning(model, calibration, keep, importance)


def torch_pruning_taylor(model: nn.Module, calibration: Calibration, keep: float) -> nn.Module:
    """`TaylorImportance` with the library's defaults and the mean loss of all calibration data.

    Source: Molchanov et al. 2019 (1906.10771).
    """
    importance = torch_pruning.importance.TaylorImportance()
    return _smallest_pruning(model, calibration, keep, importance)


def _smallest_pruning(
    model: nn.Module,
    calibration: Calibration,
    keep: float,
    importance: torch_pruning.importance.Importance,
) -> nn.Module:
    """Prune the fewest channels that meet the budget, each trial from the dense network."""
    channels = sum(len(layer_at(model, chain.producer).weight) for chain in channel_chains(model))

    def pruned(count: int) -> nn.Module:
        return _pruned(model, calibration, importance, count / channels)

    budget, most = keep * count_params(model), channels - len(channel_chains(model))
    check_reachable(keep, count_params(pruned(most)) / count_params(model))
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        fits = count_params(pruned(middle)) <= budget
        low, high = (low, middle) if fits else (middle + 1, high)
    return pruned(low)


def _pruned(
    model: nn.Module,
    calibration: Calibration,
    importance: torch_pruning.importance.Importance,
    ratio: float,
) -> nn.Module:
    small = copy.deepcopy(model).eval()
    if isinstance(importance, torch_pruning.importance.TaylorImportance):
        gradients = parameter_gradients(model, calibration)
        for name, parameter in small.named_parameters():
            parameter.grad = gradients[name].clone()
    inner = {small.get_submodule(chain.producer) for chain in channel_chains(small)}
    layers = [m for m in small.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    pruner = torch_pruning.pruner.BasePruner(
        small,
        calibration[0][:1],
        importance=_OneStays(importance),
        global_pruning=True,
        pruning_ratio=ratio,
        ignored_layers=[layer for layer in layers if layer not in inner],
    )
    pruner.step()
    small.zero_grad(set_to_none=True)
    return small

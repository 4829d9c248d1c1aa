"""Ways to choose which channels of a group stay, and the network without the others.

All of them choose on the same quadratic form, `½ tr(G (W - M) A (W - M)ᵀ)` of the layer that reads
the channels, and every choice is refitted by least squares.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

import eckart
from benchmarks.subjects.networks import channel_chains
from eckart.layers import weight_of
from eckart.linalg import group_lasso_path, nested_removal_losses
from eckart.methods import Reading, narrowed_problem, problem_of, reading_of, selection_named
from eckart.network.channel_groups import coupling
from eckart.network.removal import without_units
from eckart.records import ChannelGroup

Supports = list[list[int]]
"""Units to keep, for each requested size."""


@dataclass(frozen=True)
class Site:
    """A channel group and the only layer that reads it."""

    group: ChannelGroup
    layer: str
    reading: Reading

    def sizes(self, fractions: Sequence[float]) -> list[int]:
        """Numbers of units, at least one."""
        return [max(1, round(fraction * self.group.size)) for fraction in fractions]

    def loss(self, kept: Sequence[int]) -> float:
        """Predicted loss when only these units stay and the layer is refitted."""
        rest = [unit for unit in range(self.group.size) if unit not in set(kept)]
        losses = nested_removal_losses([self.reading.reader], [*kept, *rest])
        return float(losses[len(kept)])


def lasso(site: Site, sizes: Sequence[int]) -> Supports:
    """Supports along the path of the group lasso on `G^½ M` with `R = A`, `B = G^½ W A`."""
    problem = site.reading.problem
    values, vectors = torch.linalg.eigh(problem.g[0])
    root = vectors * values.clamp_min(0).sqrt() @ vectors.mT
    cross = root @ problem.weight[0] @ problem.a[0]
    groups = [unit.tolist() for unit in site.reading.columns]
    path = group_lasso_path(problem.a[0], cross, sizes=sizes, groups=groups)
    return [result.support.tolist() for result in path.results]


def norm(site: Site, sizes: Sequence[int]) -> Supports:
    """Units whose columns are largest (AIMET's channel pruning)."""
    return _firsts(_order(site, "largest_norm"), sizes)


def elimination(site: Site, sizes: Sequence[int]) -> Supports:
    """Units that remain after second-order backward elimination."""
    return _firsts(_order(site, "backward_elimination"), sizes)


def _order(site: Site, name: str) -> list[int]:
    selection = selection_named([name])
    assert selection is not None
    return selection.order([site.reading])


def _firsts(order: Sequence[int], sizes: Sequence[int]) -> Supports:
    return [sorted(order[:size]) for size in sizes]


Chooser = Callable[[Site, Sequence[int]], Supports]
CHOOSERS: dict[str, Chooser] = {
    "largest_norm": norm,
    "group_lasso": lasso,
    "backward_elimination": elimination,
}


def sites_of(model: nn.Module, moments: eckart.Moments) -> list[Site]:
    """The groups of the model's chains, in order."""
    found = {group.name: group for group in coupling(model, moments.example).groups}
    sites = []
    for chain in channel_chains(model):
        layer = model.get_submodule(chain.consumer)
        problem = problem_of(layer, chain.consumer, moments)
        group = found[chain.producer]
        sites.append(Site(group, chain.consumer, reading_of(problem, group, chain.consumer)))
    return sites


@torch.no_grad()
def removed(model: nn.Module, kept: Sequence[tuple[Site, Sequence[int]]]) -> nn.Module:
    """A copy without the other units; the layers that read them are refitted one by one."""
    smaller = copy.deepcopy(model)
    without_units(smaller, [(site.group, units) for site, units in kept])
    for site, units in kept:
        columns = site.group.columns_left(site.layer, units, site.reading.problem.piece.inputs)
        weight = weight_of(smaller.get_submodule(site.layer))
        full = narrowed_problem(site.reading.problem, None, columns).weight
        rows = _rows_left(kept, site.layer, full.shape[1])
        weight.copy_(full[0, rows].reshape(weight.shape))
    return smaller


def _rows_left(kept: Sequence[tuple[Site, Sequence[int]]], layer: str, width: int) -> list[int]:
    """The rows of a layer that stay, because it may write units of another group."""
    for site, units in kept:
        if layer in site.group.writers:
            return site.group.rows_left(layer, units, width)
    return list(range(width))

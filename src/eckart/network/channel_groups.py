"""Which channels of a network can only be removed together: torch-pruning's graph, verified.

The graph can be wrong and still give a network that runs. So a group is accepted only if removing
some of its channels gives the same outputs as masking them.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from eckart.layers import (
    no_narrowing,
    piece_of,
    type_of,
    weight_of,
)
from eckart.network.removal import without_units
from eckart.network.third_party import copied_in
from eckart.records import ChannelGroup
from eckart.records.channels import Units
from eckart.running.batches import call, mapped, moved, tensors_in
from eckart.running.hooks import untouched

_SAME = 1e-6  # relative to the largest output, in float64


@dataclass(frozen=True)
class Coupling:
    """The channel groups of a network.

    Attributes:
        groups: the verified groups, which can be narrowed.
        refused: why a group cannot be narrowed, by name.
    """

    groups: tuple[ChannelGroup, ...]
    refused: Mapping[str, str]


def coupling(model: nn.Module, example: Any, dense: Iterable[str] = ()) -> Coupling:
    """Find the groups of coupled channels and keep those that can really be removed.

    Args:
        model: the network.
        example: one example's inputs.
        dense: modules that must stay as they are.

    Returns:
        Verified groups, and the reason against each of the others.

    Cost: one traced pass, and two passes per verification. Wrong groups are found by bisection.

    Source: DepGraph, Fang et al. 2023 (2301.12900).
    """
    try:
        traced = _traced(model, example)
    except Exception as error:  # tracing runs the network, which may raise anything
        why = f"channels cannot be traced ({type(error).__name__}: {error!s:.100})"
        return Coupling((), {"channels": why})
    kept, refused = [], {}
    fixed = set(dense)
    for group in _pooled(traced):
        reason = _refusal(model, group, fixed)
        if reason is None:
            kept.append(group)
        elif group.readers:
            refused[group.name] = reason
    believed = _verified(model, example, kept)
    wrong = "removing its channels does not give the same outputs as masking them"
    refused |= {group.name: wrong for group in kept if group not in believed}
    return Coupling(tuple(believed), refused)


def _traced(model: nn.Module, example: Any) -> list[ChannelGroup]:
    """The groups as the tracer sees them."""
    twin = copy.deepcopy(model).eval().requires_grad_()
    for module in twin.modules():
        if isinstance(module, _ConvNd):
            module.padding_mode = "zeros"  # the tracer does not end on copied borders
    names = {module: name for name, module in twin.named_modules()}
    inputs = moved(example, twin)
    devices = {p.device.index or 0 for p in twin.parameters() if p.is_cuda}
    with warnings.catch_warnings(), torch.random.fork_rng(devices=devices), torch.enable_grad():
        warnings.simplefilter("ignore")
        import torch_pruning  # here, because it brings torchvision with it

        graph = torch_pruning.DependencyGraph().build_dependency(
            twin, inputs, forward_fn=lambda network, given: call(network, given), verbose=False
        )
        layers = tuple({type(m) for m in twin.modules() if type_of(m) is not None})
        found = [_group(group, names) for group in graph.get_all_groups(root_module_types=layers)]
    return [group for group in found if group is not None]


def _group(items: Any, names: Mapping[nn.Module, str]) -> ChannelGroup | None:
    """One traced group with its units; None if an index does not come from any channel."""
    size = len(items[0].idxs)
    sides: dict[str, dict[str, Units]] = {"writers": {}, "readers": {}, "followers": {}}
    for item in items:
        module = item.dep.target.module
        if module not in names:
            if isinstance(module, nn.Parameter):
                return None
            continue
        if isinstance(module, nn.PReLU) and module.num_parameters == 1:
            continue  # one slope for all channels
        if any(root is None for root in item.root_idxs):
            return None
        units: list[list[int]] = [[] for _ in range(size)]
        for index, root in zip(item.idxs, item.root_idxs, strict=True):
            units[root].append(index)
        known = sides[_side(module, item.dep.handler.__name__)]
        before = known.get(names[module], ((),) * size)
        merged = zip(before, units, strict=True)
        known[names[module]] = tuple(tuple(sorted({*a, *b})) for a, b in merged)
    root = names[items[0].dep.target.module]
    return ChannelGroup(name=next(iter(sides["writers"]), root), size=size, **sides)


def _side(module: nn.Module, handler: str) -> str:
    if type_of(module) is None or piece_of(module).is_depthwise:
        return "followers"
    return "readers" if handler == "prune_in_channels" else "writers"


def _pooled(groups: Sequence[ChannelGroup]) -> list[ChannelGroup]:
    """Join groups that meet in one reader (a concatenation) or one writer (a split)."""
    pools: list[ChannelGroup] = []
    for group in groups:
        touching = [p for p in pools if _meet(p, group)]
        pools = [p for p in pools if p not in touching]
        for other in touching:
            group = _joined(other, group)
        pools.append(group)
    return pools


def _meet(a: ChannelGroup, b: ChannelGroup) -> bool:
    return any(
        getattr(a, side).keys() & getattr(b, side).keys()
        for side in ("writers", "readers", "followers")
    )


def _joined(a: ChannelGroup, b: ChannelGroup) -> ChannelGroup:
    def side(left: Mapping[str, Units], right: Mapping[str, Units]) -> dict[str, Units]:
        none, nothing = ((),) * a.size, ((),) * b.size
        return {n: left.get(n, none) + right.get(n, nothing) for n in {**left, **right}}

    return ChannelGroup(
        name=a.name,
        size=a.size + b.size,
        writers=side(a.writers, b.writers),
        readers=side(a.readers, b.readers),
        followers=side(a.followers, b.followers),
    )


def _refusal(model: nn.Module, group: ChannelGroup, dense: set[str]) -> str | None:
    """Why a group must stay whole, if this is known before any trial; else None."""
    if not group.readers:
        return "only the network's output reads it"
    if group.size < 2:
        return "a single channel stays"
    asked = sorted(group.members & dense)
    if asked:
        return f"{asked[0]} stays dense"
    for side, members in _sides(group):
        for name, units in members.items():
            reason = no_narrowing(model.get_submodule(name), side)
            if reason is not None:
                return f"{name}: {reason}"
            flat = [index for unit in units for index in unit]
            if len(flat) != len(set(flat)):
                return f"{name}: one of its channels belongs to several units"
    return None


def _sides(group: ChannelGroup) -> Iterator[tuple[str, Mapping[str, Units]]]:
    yield "writer", group.writers
    yield "reader", group.readers
    yield "follower", group.followers


def _verified(model: nn.Module, example: Any, groups: Sequence[ChannelGroup]) -> list[ChannelGroup]:
    """The groups whose removal equals masking: all at once if possible, else by halves."""
    if not groups or _all_true(model, example, groups):
        return list(groups)
    if len(groups) == 1:
        return []
    middle = len(groups) // 2
    good = _verified(model, example, groups[:middle]) + _verified(model, example, groups[middle:])
    if good == list(groups) or not _all_true(model, example, good):
        return [g for i, g in enumerate(good) if _all_true(model, example, good[: i + 1])]
    return good


def _all_true(model: nn.Module, example: Any, groups: Sequence[ChannelGroup]) -> bool:
    """Whether removing every other unit, and removing the first, both equal masking them."""
    for start, step in ((0, 2), (1, 1)):  # every other unit; all but the first
        kept = [(group, list(range(start, group.size, step))) for group in groups]
        if not all(_leaves_some(group, units) for group, units in kept):
            continue
        smaller, masked = (copied_in(model, torch.float64) for _ in range(2))
        try:
            _mask(masked, kept)
            without_units(smaller, kept)
            same = _equal(_outputs(smaller, example), _outputs(masked, example))
        except Exception:  # the network does not run with fewer channels
            return False
        if not same:
            return False
    return True


def _leaves_some(group: ChannelGroup, units: Sequence[int]) -> bool:
    return all(group.rows(name, units) for name in {**group.writers, **group.followers}) and all(
        group.columns(name, units) for name in group.readers
    )


@torch.no_grad()
def _mask(model: nn.Module, kept: Sequence[tuple[ChannelGroup, Sequence[int]]]) -> None:
    """Set to zero the weights that read the other units."""
    for group, units in kept:
        gone = sorted(set(range(group.size)) - set(units))
        for name in group.readers:
            layer = model.get_submodule(name)
            weight, columns = weight_of(layer), group.columns(name, gone)
            at = torch.tensor(columns, dtype=torch.int64, device=weight.device)
            weight.index_fill_(0 if piece_of(layer).transposed else 1, at, 0.0)


@torch.no_grad()
def _outputs(model: nn.Module, example: Any) -> list[Tensor]:
    def exact(tensor: Tensor) -> Tensor:
        return tensor.double() if tensor.is_floating_point() else tensor

    with untouched(model):
        return tensors_in(call(model, mapped(moved(example, model), exact)))


def _equal(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
    if [t.shape for t in ours] != [t.shape for t in theirs]:
        return False
    return all(
        bool((a - b).abs().max() <= _SAME * b.abs().max().clamp_min(1e-12))
        for a, b in zip(ours, theirs, strict=True)
        if a.numel() and a.is_floating_point()
    )

"""Which channels of a network belong together, by the graph that torch-pruning traces.

The graph says which channels of one operation are those of the next. It is followed here: channels
that meet are of one unit, and each channel of each operation is visited once, so it always ends.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from eckart.layers import piece_of, type_of
from eckart.metrics.floating import floating
from eckart.records import ChannelGroup
from eckart.records.channels import Units
from eckart.running.batches import call, moved
from eckart.running.hooks import not_compiled

Operation = tuple[Any, Callable[..., Any]]
"""A node of the graph, and how it loses channels: at its inputs or at its outputs."""


def traced(model: nn.Module, example: Any) -> list[ChannelGroup]:
    """The groups as the tracer sees them, which may be wrong.

    Args:
        model: the network; a copy of it is run.
        example: one example's inputs.

    Cost: one pass of the example with gradients, and O(channels) for each operation.

    Source: DepGraph, Fang et al. 2023 (2301.12900).
    """
    twin = copy.deepcopy(model).eval().requires_grad_()
    for module in twin.modules():
        if isinstance(module, _ConvNd):
            module.padding_mode = "zeros"  # the tracer does not end on copied borders
    names = {module: name for name, module in twin.named_modules()}
    inputs = moved(example, twin)
    devices = {p.device.index or 0 for p in twin.parameters() if p.is_cuda}
    with (
        warnings.catch_warnings(),
        torch.random.fork_rng(devices=devices),
        torch.enable_grad(),
        not_compiled(),
    ):
        warnings.simplefilter("ignore")
        import torch_pruning

        graph = torch_pruning.DependencyGraph().build_dependency(
            twin, inputs, forward_fn=_traceable, verbose=False
        )
        torch_pruning.dependency.index_mapping.update_index_mapping(graph)
        found = [group for items in _items(graph) if (group := _group(items, names)) is not None]
    return found


def _traceable(model: nn.Module, inputs: Any) -> list[Tensor]:
    """The outputs that a network computes, from whatever holds them; caches are left out."""
    found = floating(call(model, inputs))
    tensors = (t for part in (found.values, found.inner) for each in part.values() for t in each)
    return [tensor for tensor in tensors if tensor.grad_fn is not None]


@final
class _Followed:
    """The channels of all operations that go with the output channels of one layer.

    Attributes:
        known: for each operation, which output channel of the layer each of its channels goes with.
        certain: whether the tracer knew that of all of them.
    """

    def __init__(self, root: Operation, size: int, widest: int) -> None:
        self.known = {root: {index: index for index in range(size)}}
        self.certain, self._widest, self._same = True, widest, [*range(size)]
        self._follow(root)

    def _follow(self, root: Operation) -> None:
        from torch_pruning._helpers import _HybridIndex

        pending = [(root, [_HybridIndex(index, index) for index in self.known[root]])]
        while pending and self.certain:
            (node, loses), at = pending.pop()
            for dependency in node.dependencies:
                if dependency.is_triggered_by(loses):
                    reached = at
                    for mapping in filter(None, dependency.index_mapping):
                        reached = mapping(reached)
                    then = (dependency.target, dependency.handler)
                    if fresh := self._taken_in(then, reached):
                        pending.append((then, fresh))

    def _taken_in(self, operation: Operation, reached: list[Any]) -> list[Any]:
        """Those channels that were not there before; no layer has one beyond the widest."""
        known, fresh = self.known.get(operation, {}), []
        for each in reached:
            if each.root_idx is None:
                self.certain = False
            elif each.idx in known:
                self._join(known[each.idx], each.root_idx)
            elif 0 <= each.idx < self._widest:
                known[each.idx] = each.root_idx
                fresh.append(each)
        if fresh:
            self.known[operation] = known
        return fresh

    def _join(self, one: int, other: int) -> None:
        one, other = self._first(one), self._first(other)
        self._same[max(one, other)] = min(one, other)

    def _first(self, channel: int) -> int:
        """The first output channel that goes with this one."""
        while self._same[channel] != channel:
            self._same[channel] = channel = self._same[self._same[channel]]
        return channel

    def units(self) -> Iterator[tuple[Operation, Units]]:
        """The channels of each operation, unit by unit."""
        firsts = sorted({self._first(channel) for channel in self._same})
        place = {first: at for at, first in enumerate(firsts)}
        for operation, known in self.known.items():
            units: list[list[int]] = [[] for _ in firsts]
            for index, root in known.items():
                units[place[self._first(root)]].append(index)
            yield operation, tuple(tuple(sorted(unit)) for unit in units)


def _items(graph: Any) -> Iterator[_Followed]:
    """What goes with each layer's output channels, once for all layers of a group."""
    modules = (module for module in graph.module2node if isinstance(module, nn.Module))
    known = [module for module in modules if type_of(module) is not None]
    layers = [layer for layer in known if not piece_of(layer).table]  # which keep their width
    pieces = [piece_of(layer) for layer in layers]
    widest = max((width for p in pieces for width in (p.inputs, p.outputs)), default=0)
    seen: set[object] = set()
    for layer, piece in zip(layers, pieces, strict=True):
        pruner = graph.get_pruner_of_module(layer)
        if layer in seen or pruner is None:
            continue
        root = (graph.module2node[layer], pruner.prune_out_channels)
        found = _Followed(root, piece.outputs, widest)
        seen |= {
            node.module for node, loses in found.known if graph.is_out_channel_pruning_fn(loses)
        }
        if found.certain:
            yield found


def _group(found: _Followed, names: Mapping[nn.Module, str]) -> ChannelGroup | None:
    """One group with its units; None if a parameter outside of layers has such channels."""
    sides: dict[str, dict[str, Units]] = {"writers": {}, "readers": {}, "followers": {}}
    first, size = None, 0
    for (node, loses), units in found.units():
        module, size = node.module, len(units)
        first = names[module] if first is None else first
        if isinstance(module, nn.Parameter):
            return None
        slope = isinstance(module, nn.PReLU) and module.num_parameters == 1  # for all channels
        if module in names and not slope:
            known = sides[_side(module, loses.__name__)]
            before = known.get(names[module], ((),) * size)
            merged = zip(before, units, strict=True)
            known[names[module]] = tuple(tuple(sorted({*a, *b})) for a, b in merged)
    return ChannelGroup(name=next(iter(sides["writers"]), first or ""), size=size, **sides)


def _side(module: nn.Module, handler: str) -> str:
    if type_of(module) is None or piece_of(module).is_depthwise or piece_of(module).table:
        return "followers"
    return "readers" if handler == "prune_in_channels" else "writers"

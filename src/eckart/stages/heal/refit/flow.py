"""What follows a layer in a network (norm, sum with a shortcut, ReLU), and the values there.

This is read from a symbolic trace of the teacher. The same trace runs the smaller network, because
only modules differ. If tracing fails, nothing is known about what follows a layer, and hooks record
inputs and outputs only.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, final

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn import functional as F

from eckart.layers import Factored, factors_in, norm_width, type_of
from eckart.running.batches import call, tensors_in
from eckart.running.hooks import amending, watching

_SUMS = (operator.add, operator.iadd, torch.add)
_RECTIFIERS = (F.relu, torch.relu, F.relu_, torch.relu_)
_RUN = 2  # most layers, without a branch between them, that one pass handles together
_SAME = 1e-3  # relative to the largest output: how closely the trace must repeat the network


@dataclass(frozen=True)
class Tail:
    """What follows a layer.

    Attributes:
        norm: name of the norm, if it is the only user of the layer's output.
        shortcut: the value added to the result, if it is computed before the layer.
        rectified: whether only the positive part is passed on.
    """

    norm: str | None = None
    shortcut: str | None = None
    rectified: bool = False


@dataclass(frozen=True)
class Values:
    """The values at a layer for one batch: its input, output, norm output, and shortcut."""

    x: Tensor
    y: Tensor
    z: Tensor
    shortcut: Tensor | None = None


@final
@dataclass(frozen=True)
class Flow:
    """The layers of a network in the order in which they run, each called once.

    Attributes:
        tails: what follows each layer, by name.
        graph: the trace; None if tracing failed.
        problem: why tracing failed.
    """

    tails: Mapping[str, Tail]
    graph: torch.fx.Graph | None = None
    problem: str = ""

    def runs(self) -> list[list[str]]:
        """Layers that one pass handles together: two of them, or fewer at the end of a branch."""
        found: list[list[str]] = [[]]
        for name, tail in self.tails.items():
            if len(found[-1]) == _RUN:
                found.append([])
            found[-1].append(name)
            if tail.shortcut is not None:
                found.append([])
        return [run for run in found if run]

    def values(self, network: nn.Module, inputs: Any, layers: Sequence[str]) -> dict[str, Values]:
        """The values at these layers; the network stops running after the last of them."""
        if self.graph is None:
            return _hooked(network, inputs, layers)
        wanted = {name: self._places(name, self.tails[name]) for name in layers}
        seen = _recorded(network, self.graph, inputs, {p for part in wanted.values() for p in part})
        found = {}
        for name, (x, y, *rest) in wanted.items():
            tail = self.tails[name]
            z = seen[rest[0]] if tail.norm else seen[y]
            found[name] = Values(seen[x], seen[y], z, seen[rest[-1]] if tail.shortcut else None)
        return found

    def _places(self, name: str, tail: Tail) -> list[str]:
        """The nodes of a layer's input and output, of its norm's output, and of the shortcut."""
        (node,) = (n for n in _calls(self.graph) if n.target == name)
        norm = [next(iter(node.users)).name] if tail.norm else []
        return [_arguments(node)[0].name, node.name, *norm, *filter(None, [tail.shortcut])]


@torch.no_grad()
def flow_of(teacher: nn.Module, student: nn.Module, inputs: Any) -> Flow:
    """Trace a teacher, and check that the trace reproduces the smaller network's outputs.

    Args:
        teacher: the dense network.
        student: the smaller network, with modules of the same names.
        inputs: the inputs of one batch.
    """
    try:
        graph = torch.fx.Tracer().trace(teacher)
        ours, again = (
            call(student, inputs),
            _Run(student, graph, set()).run(*_ordered(graph, inputs)),
        )
        gaps = [
            float((a - b).abs().max()) - _SAME * float(a.abs().max())
            for a, b in zip(tensors_in(ours), tensors_in(again), strict=True)
        ]
        if not gaps or max(gaps) > 0:
            raise ValueError("the trace gives other outputs")
    except Exception as error:  # tracing and running may raise anything
        return Flow(_in_order(student, inputs), None, f"{type(error).__name__}: {error!s:.80}")
    return Flow(_tails(graph, teacher, student), graph)


def _tails(graph: torch.fx.Graph, teacher: nn.Module, student: nn.Module) -> dict[str, Tail]:
    order = {node: i for i, node in enumerate(graph.nodes)}
    calls = Counter(node.target for node in _calls(graph))
    found = {}
    for node in _calls(graph):
        name = str(node.target)
        if calls[name] == 1 and is_layer(student.get_submodule(name)):
            found[name] = _tail(node, teacher, order)
    return found


def _tail(node: torch.fx.Node, teacher: nn.Module, order: Mapping[torch.fx.Node, int]) -> Tail:
    norm, shortcut = None, None
    end, after = node, _only_user(node)
    if after is not None and after.op == "call_module" and _is_norm(teacher, str(after.target)):
        norm, end, after = str(after.target), after, _only_user(after)
    if after is not None and _is_sum(after):
        other = next((n for n in _arguments(after) if n is not end), None)
        if other is None or order[other] > order[end]:
            return Tail(norm)  # the other branch comes later and corrects the error of this one
        shortcut, end = other.name, after
    users = [user for user in end.users if not _is_sizing(user)]
    rectified = bool(users) and all(_is_rectifier(user, teacher) for user in users)
    return Tail(norm, shortcut, rectified)


def _is_sum(node: torch.fx.Node) -> bool:
    named = node.op == "call_method" and node.target in ("add", "add_")
    return (named or (node.op == "call_function" and node.target in _SUMS)) and len(node.args) == 2


def _is_rectifier(node: torch.fx.Node, teacher: nn.Module) -> bool:
    if node.op == "call_module":
        return type(teacher.get_submodule(str(node.target))) is nn.ReLU
    named = node.op == "call_method" and node.target in ("relu", "relu_")
    return named or (node.op == "call_function" and node.target in _RECTIFIERS)


def _is_sizing(node: torch.fx.Node) -> bool:
    return node.op == "call_method" and node.target in ("size", "dim")


def _is_norm(teacher: nn.Module, name: str) -> bool:
    module = teacher.get_submodule(name)
    return norm_width(module) is not None and getattr(module, "running_mean", None) is not None


def is_layer(module: nn.Module) -> bool:
    """Whether a module is a plain layer or a chain that replaces one."""
    return isinstance(module, Factored) or type_of(module) is not None


def _only_user(node: torch.fx.Node) -> torch.fx.Node | None:
    users = [user for user in node.users if not _is_sizing(user)]
    return users[0] if len(users) == 1 else None


def _calls(graph: torch.fx.Graph | None) -> list[torch.fx.Node]:
    return [] if graph is None else [n for n in graph.nodes if n.op == "call_module"]


def _arguments(node: torch.fx.Node) -> list[torch.fx.Node]:
    values = [*node.args, *node.kwargs.values()]
    return [value for value in values if isinstance(value, torch.fx.Node)]


class _Enough(BaseException):
    """All wanted values were seen. The interpreter would add notes to an ``Exception``."""


class _Run(torch.fx.Interpreter):
    """Runs a network by another's trace and records the values of some nodes."""

    def __init__(self, network: nn.Module, graph: torch.fx.Graph, wanted: set[str]) -> None:
        super().__init__(torch.fx.GraphModule(network, graph))
        self.wanted = set(wanted)
        self.seen: dict[str, Any] = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        value = super().run_node(n)
        if n.name in self.wanted:
            self.seen[n.name] = value.clone()  # later nodes may work in place
            if len(self.seen) == len(self.wanted):
                raise _Enough
        return value


def _recorded(
    network: nn.Module, graph: torch.fx.Graph, inputs: Any, wanted: set[str]
) -> dict[str, Any]:
    run = _Run(network, graph, wanted)
    with suppress(_Enough):
        run.run(*_ordered(graph, inputs))
    return run.seen


def _ordered(graph: torch.fx.Graph, inputs: Any) -> list[Any]:
    """The inputs in the order of the trace's placeholders."""
    if isinstance(inputs, Mapping):
        names = [str(node.target) for node in graph.nodes if node.op == "placeholder"]
        return [inputs[name] for name in names if name in inputs]
    return list(inputs) if isinstance(inputs, tuple | list) else [inputs]


def _hooked(network: nn.Module, inputs: Any, layers: Iterable[str]) -> dict[str, Values]:
    modules = {name: network.get_submodule(name) for name in layers}
    xs: dict[str, Tensor] = {}
    ys: dict[str, Tensor] = {}
    with (
        watching(modules, lambda name, module, x: xs.update({name: x.clone()})),
        amending(modules, lambda name, module, y: ys.update({name: y.clone()})),
    ):
        call(network, inputs)
    return {name: Values(xs[name], ys[name], ys[name]) for name in modules if name in ys}


def _in_order(student: nn.Module, inputs: Any) -> dict[str, Tail]:
    """Layers that are called once, in the order of the calls, without knowing what follows them."""
    modules = {name: module for name, module in student.named_modules() if name}
    inside = factors_in(student)
    layers = {n: m for n, m in modules.items() if is_layer(m) and n not in inside}
    order: list[str] = []
    with watching(layers, lambda name, module, x: order.append(name)):
        call(student, inputs)
    calls = Counter(order)
    return {name: Tail() for name in order if calls[name] == 1}

"""What a network costs, counted in one forward pass of one example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from eckart.layers import Factored, FewBits, piece_of, type_of
from eckart.network.operations import counted_operations
from eckart.network.twins import Multiplies, multiplied, opened
from eckart.records import Form
from eckart.records.forms import Multiplied
from eckart.records.pieces import Size
from eckart.running.batches import call, moved
from eckart.running.hooks import untouched, watching


@dataclass(frozen=True)
class NetworkCosts:
    """Costs of a whole network.

    Attributes:
        params: number of parameters; shared ones count once.
        bytes: bytes of the parameters and of the buffers that are saved with them; what a file of
            weights holds.
        layer_macs: multiply-adds of every plain layer for one example, by our own count.
        other_macs: multiply-adds of all other operations, by torch's counter.
        sizes: input positions of every call of every plain layer.
    """

    params: int
    bytes: int
    layer_macs: Mapping[str, int]
    other_macs: int
    sizes: Mapping[str, list[Size]]

    @property
    def macs(self) -> int:
        """Multiply-adds for one example."""
        return sum(self.layer_macs.values()) + self.other_macs

    def totals(self) -> dict[str, int]:
        """The costs by the names that budgets use."""
        return {"params": self.params, "macs": self.macs, "bytes": self.bytes}


def trace_sizes(model: nn.Module, example: Any) -> dict[str, list[Size]]:
    """Input positions of every call of every plain layer, for the example's inputs."""
    layers = {name: m for name, m in model.named_modules() if type_of(m) is not None}
    sizes: dict[str, list[Size]] = {}

    def see(name: str, module: nn.Module, x: Tensor) -> None:
        kind = type_of(module)
        if kind is not None:
            sizes.setdefault(name, []).append(kind.size(module, x))

    with untouched(model), torch.no_grad(), watching(layers, see):
        call(model, moved(example, model))
    return sizes


def network_costs(model: nn.Module, example: Any) -> NetworkCosts:
    """Count parameters, bytes and multiply-adds with one example as input."""
    stored, model = stored_costs(model), opened(model)
    sizes, total, by_module = counted_operations(lambda: trace_sizes(model, example))
    apart = multiplied(model)
    known = _known_macs(model, sizes, apart)
    plain = {n: c for n, c in sizes.items() if not any(f"{n}.".startswith(f"{k}.") for k in apart)}
    layers = dict(model.named_modules())
    called = {name: _macs(layers[name], calls) for name, calls in plain.items()}
    counted = total // 2 - _counted_in(model, by_module)
    return NetworkCosts(
        params=stored["params"],
        bytes=stored["bytes"],
        layer_macs={**called, **known},
        other_macs=max(0, counted - sum(called.values())),
        sizes=sizes,
    )


def _known_macs(
    model: nn.Module, sizes: Mapping[str, list[Size]], apart: Mapping[str, Multiplied]
) -> dict[str, int]:
    """Multiply-adds of layers that do not run as they are called, by what runs instead."""
    known = {}
    for name, how in apart.items():
        module = getattr(model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2])
        if module is not None:
            factored = isinstance(module, Factored)
            form = module.form if factored else Form((piece_of(module),))
            calls = sizes.get(f"{name}.0" if factored else name, [])
            known[name] = sum(form.as_run(how).macs(size) for size in calls)
    return known


def _counted_in(model: nn.Module, counts: Mapping[str, Mapping[Any, int]]) -> int:
    """Multiply-adds by torch's counter inside the modules that do not run as they are called."""
    root = type(model).__name__
    places = [
        f"{root}.{name}" if name else root
        for name, module in model.named_modules()
        if isinstance(module, Multiplies)
    ]
    return sum(sum(counts.get(place, {}).values()) for place in places) // 2


def stored_costs(model: nn.Module) -> dict[str, int]:
    """Parameters and bytes of a network; it does not have to run. Codes stand for parameters."""
    coded = [module for module in model.modules() if type(module) is FewBits]
    saved = [buffer for module in model.modules() for buffer in saved_buffers(module).values()]
    found = stored_in([*model.parameters(), *{id(b): b for b in saved}.values()])
    return {**found, "params": found["params"] + sum(layer.piece.weights for layer in coded)}


def stored_in(tensors: Iterable[Tensor]) -> dict[str, int]:
    """How many numbers there are in the parameters among some tensors, and the bytes of all.

    Lazy ones have none.
    """
    found = [tensor for tensor in tensors if not is_lazy(tensor)]
    return {
        "params": sum(t.numel() for t in found if isinstance(t, nn.Parameter)),
        "bytes": sum(t.numel() * t.element_size() for t in found),
    }


def saved_buffers(module: nn.Module) -> dict[str, Tensor]:
    """The buffers of a module itself that its state holds, by name; all of a scripted module's."""
    left_out: set[str] = getattr(module, "_non_persistent_buffers_set", set())
    found = module.named_buffers(recurse=False)
    return {name: buffer for name, buffer in found if name not in left_out}


def _macs(layer: nn.Module, sizes: list[Size]) -> int:
    kind = type_of(layer)
    return 0 if kind is None else sum(Form((kind.piece(layer),)).macs(size) for size in sizes)

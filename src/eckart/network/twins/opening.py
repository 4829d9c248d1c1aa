"""A network with its composite modules opened, all or some; and closed again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import nn
from torch.nn.parameter import is_lazy

from eckart.layers import Factored
from eckart.network.twins.placing import put, with_twins
from eckart.network.twins.registry import TWINS, Multiplies, Twin, twin_of
from eckart.records.forms import Multiplied


@dataclass(frozen=True)
class Composite:
    """A module that hides plain layers.

    Attributes:
        name: in the network.
        module: itself.
        twin: how it is opened.
    """

    name: str
    module: nn.Module
    twin: Twin

    def holds(self, layer: str) -> bool:
        """Whether a layer of the opened network is it, or in it."""
        return layer == self.name or layer.startswith(f"{self.name}." if self.name else "")

    def opened(self) -> nn.Module:
        """Its twin, which shares its numbers."""
        return self.twin.open(self.module)


def opened(model: nn.Module) -> nn.Module:
    """A copy with plain layers in the place of every composite module; all tensors are shared.

    Moments, losses and costs are those of this network. One without composites is itself, and so is
    one that cannot be copied.
    """
    twins = {composite.name: composite.opened() for composite in composites(model)}
    if not twins:
        return model
    try:
        return with_twins(model, twins)
    except (RuntimeError, TypeError):
        return model


def around(found: Iterable[Composite], layers: Iterable[str]) -> list[Composite]:
    """The composites that hold any of these layers of the opened network."""
    wanted = list(layers)
    return [composite for composite in found if any(map(composite.holds, wanted))]


def closed(model: nn.Module) -> nn.Module:
    """Put the original class back, in place, of every twin that is whole."""
    for name, module in list(model.named_modules()):
        former = next((f for t in TWINS.values() if (f := t.close(module)) is not None), None)
        if former is not None:
            put(model, {name: former})
    return model


def notes(model: nn.Module) -> dict[str, str]:
    """What a plan should say about composites, by name."""
    said = {c.name: c.twin.note(c.module) for c in composites(model)}
    return {name: note for name, note in said.items() if note is not None}


def multiplied(model: nn.Module) -> dict[str, Multiplied]:
    """What is multiplied out of the chains of some layers before they run, by name."""
    return {
        f"{name}.{child}" if name else child: how
        for name, module in model.named_modules()
        if isinstance(module, Multiplies)
        for child, how in module.multiplied.items()
    }


def composites(model: nn.Module) -> list[Composite]:
    """Every composite of a network; none inside another.

    A module that shares a parameter with others is left alone.
    """
    uses = Counter(id(p) for m in model.modules() for p in m._parameters.values() if p is not None)
    return list(_found(model, "", uses, set()))


def _found(module: nn.Module, name: str, uses: Counter[int], seen: set[int]) -> Iterator[Composite]:
    if id(module) in seen or type(module) is Factored:
        return
    seen.add(id(module))
    twin = twin_of(module) if _is_alone(module, uses) else None
    if twin is not None:
        yield Composite(name, module, twin)
        return
    for child, part in module.named_children():
        yield from _found(part, f"{name}.{child}" if name else child, uses, seen)


def _is_alone(module: nn.Module, uses: Counter[int]) -> bool:
    """Whether no parameter of it is anybody else's or still to be initialised."""
    own = Counter(id(p) for m in module.modules() for p in m._parameters.values() if p is not None)
    return all(uses[i] == n for i, n in own.items()) and not any(map(is_lazy, module.parameters()))

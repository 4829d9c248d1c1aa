"""Open what a plan changes inside composite modules; close what stays whole after all."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

from torch import nn

from eckart.network.replacing import copied
from eckart.network.twins import Composite, around, composites, put


@dataclass(frozen=True)
class Opening:
    """A network, and those of its composite modules in which some layers change.

    Attributes:
        model: the network as it was given.
        composites: the modules that have to be opened.
    """

    model: nn.Module
    composites: tuple[Composite, ...]

    @classmethod
    def of(cls, model: nn.Module, layers: Iterable[str]) -> Opening:
        """For layers of the opened network, by name."""
        return cls(model, tuple(around(composites(model), layers)))

    def holds(self, layer: str) -> bool:
        """Whether a layer is in one of the modules, or is one."""
        return any(composite.holds(layer) for composite in self.composites)

    def carried_out(self, inplace: bool, sharing: Iterable[nn.Module] = ()) -> nn.Module:
        """The network, or a copy of it that shares some modules, with the twins in it."""
        twins = {composite.name: composite.opened() for composite in self.composites}
        if not inplace:
            return copied(self.model, sharing, {name: copied(t) for name, t in twins.items()})
        put(self.model, twins)
        return self.model

    def undone(self, opened: nn.Module, changed: Set[str], inplace: bool) -> None:
        """Put the modules back, in place, in which none of these layers is."""
        needed = {composite.name for composite in around(self.composites, changed)}
        for composite in self.composites:
            if composite.name not in needed:
                module = composite.module
                put(opened, {composite.name: module if inplace else copied(module)})

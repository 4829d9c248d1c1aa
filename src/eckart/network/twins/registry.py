"""What a twin must provide, and the table of the registered ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import nn

from eckart.records.forms import Multiplied


@runtime_checkable
class Twin(Protocol):
    """How modules that hide plain layers are opened, which is: made of plain layers."""

    @property
    def name(self) -> str:
        """Name in the registry."""

    def applies(self, module: nn.Module) -> bool:
        """Whether this module hides layers that this twin brings out."""

    def open(self, module: nn.Module) -> nn.Module:
        """An equal module whose children are plain layers; its tensors are those of ``module``.

        It takes the same arguments, gives the same outputs in both modes, and has the mode and the
        ``requires_grad`` flags of the module.
        """

    def close(self, module: nn.Module) -> nn.Module | None:
        """The original class again, if ``module`` is a twin of this kind with nothing replaced.

        None for every other module, and for twins that do not know what they were.
        """

    def note(self, module: nn.Module) -> str | None:
        """What a plan should say about ``module`` where it is opened; None if nothing."""


@runtime_checkable
class Multiplies(Protocol):
    """A part of a twin that runs its layers otherwise than by calling them."""

    @property
    def multiplied(self) -> Mapping[str, Multiplied]:
        """What it multiplies out of the chain of each layer, by the layer's name in it."""


TWINS: dict[str, Twin] = {}


def register_twin(twin: Twin) -> None:
    """Register a twin; a later one of the same name replaces it."""
    TWINS[twin.name] = twin


def twin_of(module: nn.Module) -> Twin | None:
    """The twin by which a module is opened, if any: of several the one registered last."""
    return next((twin for twin in reversed(TWINS.values()) if twin.applies(module)), None)

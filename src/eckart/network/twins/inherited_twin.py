"""Subclasses of plain layers that do something before or after what they inherit."""

from __future__ import annotations

from typing import final

from torch import nn

from eckart.layers import LAYER_TYPES, LayerType, OwnLayout, type_of, weight_of
from eckart.layers.embedding import keep_settings
from eckart.network.twins.inherited import INNER, MOVED, Inherited, kinds_of, opened_class
from eckart.network.twins.placing import with_twins
from eckart.network.twins.plain import is_hooked


@final
class InheritedTwin:
    """Scaled words, shifted positions, a layer with its activation: what calls ``super().forward``.

    A class that multiplies with ``self.weight`` itself is opened too. Its layer takes part if that
    is seen, as ``F.linear`` is; otherwise calibration says that the layer is never called.
    """

    name = "inherited"

    def applies(self, module: nn.Module) -> bool:
        """A subclass with a forward of its own, and with weights that are plain parameters."""
        kind = _kind(module)
        return (
            kind is not None
            and kind.refusal(module) is None
            and type_of(module) is None
            and weight_of(module).is_floating_point()
            and not (is_hooked(module) or "forward" in vars(module) or hasattr(module, INNER))
            and type(module).forward is not kind.module.forward
        )

    def open(self, module: nn.Module) -> nn.Module:
        """The same class around a plain layer that holds the module's own parameters."""
        kind = _kind(module)
        if kind is None:
            raise TypeError(f"{type(module).__name__} is not a subclass of a plain layer")
        plain = kind.plain(kind.piece(module), weight_of(module).new_empty(0, device="meta"))
        keep_settings(plain, module)
        for name in MOVED:
            if name in module._parameters:
                plain._parameters[name] = module._parameters[name]
        opened = with_twins(module, {})
        for name in MOVED:
            opened._parameters.pop(name, None)
        opened.__class__ = opened_class(type(module), kind.module)
        opened._modules[INNER] = plain.train(module.training)
        return opened

    def close(self, module: nn.Module) -> nn.Module | None:
        """The class itself again, over the parameters of the layer."""
        if not isinstance(module, Inherited):
            return None
        kind, plain = kinds_of(module)
        if type(module.inner) is not plain:
            return None
        closed = with_twins(module, {})
        closed.__class__ = kind
        closed._modules.pop(INNER)
        closed._parameters = {**module.inner._parameters, **closed._parameters}
        return closed

    def note(self, module: nn.Module) -> str | None:
        """Nothing: the numbers are those of the module."""
        return None


def _kind(module: nn.Module) -> LayerType | None:
    """The plain layer type that a module's class comes from."""
    found = (k for k in LAYER_TYPES.values() if isinstance(module, k.module))
    kind = next((k for k in found if not isinstance(k, OwnLayout)), None)
    if kind is None or isinstance(module, Inherited):
        return None
    return None if module._parameters.get("weight") is None else kind

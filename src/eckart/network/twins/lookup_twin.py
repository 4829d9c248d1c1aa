"""Subclasses of ``nn.Embedding`` that do something before or after the lookup."""

from __future__ import annotations

from typing import cast, final

from torch import nn

from eckart.layers import type_of
from eckart.layers.embedding import keep_settings
from eckart.network.twins.lookup import TABLE, Lookup, kind_of, lookup_of
from eckart.network.twins.placing import with_twins
from eckart.network.twins.plain import is_hooked, parameter


@final
class LookupTwin:
    """Scaled words, shifted positions, and whatever else ends in ``super().forward``.

    A class that reads ``self.weight`` itself is opened too. Its table is then never called, which
    calibration says.
    """

    name = "lookup"

    def applies(self, module: nn.Module) -> bool:
        """A subclass with a forward of its own around rows that do not change."""
        return (
            isinstance(module, nn.Embedding)
            and not isinstance(module, Lookup)
            and set(module._parameters) == {"weight"}
            and module.weight.is_floating_point()
            and module.max_norm is None
            and type_of(module) is None
            and not (is_hooked(module) or "forward" in vars(module) or hasattr(module, TABLE))
            and type(module).forward is not nn.Embedding.forward
        )

    def open(self, module: nn.Module) -> nn.Module:
        """The same class over a table that holds the module's own parameter."""
        old = cast(nn.Embedding, module)
        table = nn.Embedding(old.num_embeddings, old.embedding_dim, device="meta")
        keep_settings(table, old)
        table.weight = old.weight
        opened = with_twins(module, {})
        del opened._parameters["weight"]
        opened.__class__ = lookup_of(type(module))
        opened._modules[TABLE] = table.train(old.training)
        return opened

    def close(self, module: nn.Module) -> nn.Module | None:
        """The class itself again, over the parameter of the table."""
        if not isinstance(module, Lookup) or type(module.table) is not nn.Embedding:
            return None
        closed, kind = with_twins(module, {}), kind_of(module)
        closed.__class__ = kind
        del closed._modules[TABLE]
        closed._parameters["weight"] = parameter(module.table.weight, True)
        return closed

    def note(self, module: nn.Module) -> str | None:
        """Nothing: the rows are those of the module."""
        return None

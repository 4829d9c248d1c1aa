"""Which methods a budget may use, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

ASKED, DEFAULT = "asked for", "a default"
ROUNDING = "rounding"
"""The name among methods that stands for codes; also the method of a layer that only got codes."""
EIGHT_BITS = "8-bit activations"
"""What plans call the options of which weights and activations have 8 bits."""


@dataclass(frozen=True)
class Offered:
    """The methods behind curves. Some are offered only where certain costs alone are limited.

    Attributes:
        methods: those that may be used, each with the reason.
        withheld: those that may not, each with the reason.
        only_for: the costs that a method is offered for, where it is not offered for all.
    """

    methods: Mapping[str, str] = field(default_factory=dict)
    withheld: Mapping[str, str] = field(default_factory=dict)
    only_for: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def under(self, costs: Iterable[str]) -> Offered:
        """The methods that limits on these costs leave.

        What was withheld before stays withheld, because there are no options of it.
        """
        limited, methods, withheld = list(costs), dict(self.methods), dict(self.withheld)
        for name, pays in self.only_for.items():
            saves = " and ".join(pays)
            others = [cost for cost in limited if cost not in pays]
            if others:
                withheld[name] = f"is not offered for {', '.join(others)}: it saves only {saves}"
            elif name in withheld:
                wanted = ", ".join(map(repr, limited))
                withheld[name] = f"was not prepared: make curves with limits=[{wanted}]"
            else:
                methods[name] = f"{DEFAULT} where nothing but {saves} is limited"
        left = {name: why for name, why in methods.items() if name not in withheld}
        return replace(self, methods=left, withheld=withheld)

"""How many of the tokens reach a layer, where a router sends each token to a few experts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

from torch import nn

from eckart.network.twins import Experts


@final
class Routing:
    """Follows the mixtures of experts of an opened network from pass to pass.

    Attributes:
        choices: to how many experts each token goes, by the name of the mixture.
    """

    def __init__(self, model: nn.Module) -> None:
        self._mixtures = {n: m for n, m in model.named_modules() if isinstance(m, Experts)}
        self.choices: dict[str, int] = {}

    @contextmanager
    def following(self) -> Iterator[None]:
        """Inside, one pass runs."""
        hooks = {name: self._hook(name) for name in self._mixtures}
        handles = [
            mixture.register_forward_pre_hook(hooks[name], with_kwargs=True)
            for name, mixture in self._mixtures.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str) -> Callable[..., None]:
        def see(mixture: Experts, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            found = mixture.choices_in(*given, **named)
            self.choices[name] = max(found, self.choices.get(name, 1))

        return see

    def shares(self) -> dict[str, float]:
        """The share of the tokens that reaches each layer of the mixtures that ran, by its name.

        It is k/n for k of n experts, whichever expert it is.
        """
        return {
            f"{name}.{layer}": min(1.0, self.choices[name] / mixture.experts)
            for name, mixture in self._mixtures.items()
            if name in self.choices
            for layer, _ in mixture.layers()
        }

    def active(self, params: int) -> int:
        """How many parameters one token uses: all but those of experts that it is not sent to."""
        idle = 0.0
        for name, mixture in self._mixtures.items():
            share = min(1.0, self.choices.get(name, mixture.experts) / mixture.experts)
            numbers = (p.numel() for _, layer in mixture.layers() for p in layer.parameters())
            idle += (1 - share) * sum(numbers)
        return params - round(idle)

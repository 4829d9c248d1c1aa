"""The change of outputs under a probe of the user's own that cannot tell it."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eckart.running.batches import tensors_in


class Squares:
    """Half the squared change of all floating outputs."""

    def __call__(
        self, outputs: Any, batch: Any, generator: torch.Generator
    ) -> Float[Tensor, "*samples"]:
        """A random combination of the outputs, whose gram is that of the squares."""
        found = self.observed(outputs, batch)
        return (found * torch.randn(found.shape, generator=generator).to(found)).sum()

    def observed(self, outputs: Any, batch: Any) -> Tensor:
        """All floating outputs, in a row."""
        found = [t.double().flatten() for t in tensors_in(outputs) if t.is_floating_point()]
        return torch.cat(found) if found else torch.zeros(0)

    def change(self, found: Tensor, outputs: Any, batch: Any) -> float:
        """Half the squared distance."""
        return 0.5 * float((found - self.observed(outputs, batch)).square().sum())

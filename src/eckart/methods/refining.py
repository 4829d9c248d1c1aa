"""The weights of a form that was chosen, refined where its method can.

Curves need losses of many forms, so methods take short ways there. A network needs the weights of
one form per layer, so these may cost more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from eckart.methods.problem import Problem
from eckart.records import Form


@dataclass(frozen=True)
class Refined:
    """Weights in place of one layer, and what they lose.

    Attributes:
        weights: one per piece of the form.
        loss: predicted, never above that of the option.
    """

    weights: tuple[Tensor, ...]
    loss: float


@runtime_checkable
class Refining(Protocol):
    """What a method has if it can do better for one form than its state does for all of them."""

    def refined(self, state: Any, form: Form, problem: Problem) -> Refined:
        """The weights of a form's pieces; the same arguments give the same weights."""

"""The weights of a form that was chosen, refined where its method can.

Curves need losses of many forms, so methods take short ways there. A network needs the weights of
one form per layer, so these may cost more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

from eckart.errors import MismatchError
from eckart.methods.cache import Cache
from eckart.methods.problem import Problem
from eckart.methods.registry import Method, Weight
from eckart.records import Form


@dataclass(frozen=True)
class Refined:
    """Weights in place of one layer, and what they lose.

    Attributes:
        weights: one per piece of the form.
        loss: predicted, never above that of the option.
    """

    weights: tuple[Weight, ...]
    loss: float


@runtime_checkable
class Refining(Protocol):
    """What a method has if it can do better for one form than its state does for all of them."""

    def refined(self, state: Any, form: Form, problem: Problem) -> Refined:
        """The weights of a form's pieces; the same arguments give the same weights."""


@dataclass(frozen=True)
class Built:
    """Weights in place of one layer, and the share of the predicted loss that they lose."""

    weights: tuple[Weight, ...]
    share: float


def built(cache: Cache, method: Method, problem: Problem, form: Form, name: str) -> Built:
    """The weights of one form, refined where the method can; the cache keeps them like a state.

    Raises:
        MismatchError: the method does not offer this form; says so of the layer of this name.
    """
    state = cache.state(method, problem)
    loss = dict(method.losses(state)).get(form)
    if loss is None:
        raise MismatchError(f"layer {name!r:.80}: {method.name} cannot make the form {form}")
    if not isinstance(method, Refining):
        return Built(tuple(method.build(state, form)), 1.0)
    better = partial(method.refined, state, form, problem)
    title = f"{problem.title} refined {method.name} {form}"
    found = cache.held(title, better) if problem.title else better()
    return Built(found.weights, found.loss / loss if loss > found.loss else 1.0)

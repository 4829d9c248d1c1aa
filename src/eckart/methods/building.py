"""The weights of the form that was chosen for a layer: built, refined, and put into codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from eckart.errors import MismatchError
from eckart.methods.cache import Cache
from eckart.methods.problem import Problem
from eckart.methods.refining import Refining
from eckart.methods.registry import Weight, methods_named
from eckart.methods.rounding import coded
from eckart.records import Form
from eckart.records.offered import ROUNDING

T = TypeVar("T")


@dataclass(frozen=True)
class Built:
    """Weights in place of one layer, and what they lose as a share of the predicted loss.

    Refined factors lose less than was predicted for them. Codes were only expected to lose as much,
    and may lose more.
    """

    weights: tuple[Weight, ...]
    share: float


def built(cache: Cache, method: str, problem: Problem, form: Form, name: str) -> Built:
    """The weights of one form; the cache keeps what was refined or rounded like a state.

    Raises:
        MismatchError: the method does not offer this form; says so of the layer of this name.
    """
    if method == ROUNDING:
        return _rounded(cache, problem, form, name)
    (maker,) = methods_named([method])
    state = cache.state(maker, problem)
    loss = dict(maker.losses(state)).get(form)
    if loss is None:
        raise _cannot(name, method, form)
    if not isinstance(maker, Refining):
        return Built(tuple(maker.build(state, form)), 1.0)
    better = partial(maker.refined, state, form, problem)
    found = _held(cache, problem, f"refined {method} {form}", better)
    return Built(found.weights, found.loss / loss if loss > found.loss else 1.0)


def _rounded(cache: Cache, problem: Problem, form: Form, name: str) -> Built:
    """The layer itself in codes."""
    if form.uncoded != Form((problem.piece,)) or not form.bits:
        raise _cannot(name, ROUNDING, form)
    found = _held(cache, problem, f"{ROUNDING} {form.as_json()}", partial(coded, problem, form))
    return Built(found.weights, found.loss / found.expected if found.expected > 0 else 1.0)


def _held(cache: Cache, problem: Problem, title: str, make: Callable[[], T]) -> T:
    return cache.held(f"{problem.title} {title}", make) if problem.title else make()


def _cannot(name: str, method: str, form: Form) -> MismatchError:
    return MismatchError(f"layer {name!r:.80}: {method} cannot make the form {form}")

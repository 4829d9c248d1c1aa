"""The weights of the form that was chosen for a layer: built, refined, and put into codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from eckart.errors import MismatchError
from eckart.methods.cache import Cache
from eckart.methods.chains import can_have_codes
from eckart.methods.problem import Problem
from eckart.methods.refining import Refined, Refining
from eckart.methods.registry import Method, Weight, methods_named
from eckart.methods.rounding import added_loss, factors_in_codes, whole_in_codes
from eckart.records import Form
from eckart.records.offered import ROUNDING

T = TypeVar("T")


@dataclass(frozen=True)
class Built:
    """Weights in place of one layer.

    Attributes:
        weights: one per piece of the form.
        loss: what they lose.
        predicted: what the form was said to lose. Refined factors lose less. Codes were only
            expected to lose as much, and may lose more.
    """

    weights: tuple[Weight, ...]
    loss: float
    predicted: float

    @property
    def share(self) -> float:
        """What is lost of what was predicted."""
        return self.loss / self.predicted if self.predicted > 0 else 1.0


def built(cache: Cache, method: str, problem: Problem, form: Form, name: str) -> Built:
    """The weights of one form; the cache keeps what was refined or rounded like a state.

    Factors are refined before they are rounded.

    Raises:
        MismatchError: the method does not offer this form; says so of the layer of this name.
    """
    if method == ROUNDING:
        make = partial(_whole, problem, form)
        fits = form.uncoded == Form((problem.piece,))
    else:
        (maker,) = methods_named([method])
        losses = dict(maker.losses(cache.state(maker, problem)))
        if form.bits:
            losses = {offered.unpivoted: loss for offered, loss in losses.items()}
        make = partial(_made, cache, maker, problem, form, losses.get(form.uncoded, 0.0))
        fits = form.uncoded in losses and (not form.bits or can_have_codes(form))
    if not fits or len(form.bits) not in (0, len(form.pieces)):
        raise MismatchError(f"layer {name!r:.80}: {method} cannot make the form {form}")
    return _held(cache, problem, f"{method} {form.as_json()}" if form.bits else "", make)


def _whole(problem: Problem, form: Form) -> Built:
    """The layer itself in codes."""
    found = whole_in_codes(problem, form)
    return Built(found.weights, found.loss, found.expected)


def _made(cache: Cache, method: Method, problem: Problem, form: Form, loss: float) -> Built:
    """What a method makes, in codes where the form has bits."""
    found = _refined(cache, method, problem, form.uncoded, loss)
    if not form.bits:
        return Built(found.weights, min(found.loss, loss), loss)
    start = method.build(cache.state(method, problem), form.uncoded)
    predicted = loss + added_loss(problem, form, start)
    codes, lost = factors_in_codes(problem, form, found.weights)
    return Built(codes, lost, predicted)


def _refined(cache: Cache, method: Method, problem: Problem, form: Form, loss: float) -> Refined:
    """Weights as numbers, refined where the method can."""
    state = cache.state(method, problem)
    if not isinstance(method, Refining):
        return Refined(tuple(method.build(state, form)), loss)
    better = partial(method.refined, state, form, problem)
    return _held(cache, problem, f"refined {method.name} {form}", better)


def _held(cache: Cache, problem: Problem, title: str, make: Callable[[], T]) -> T:
    """What the cache keeps for a problem under a title; made each time if one of them has none."""
    return cache.held(f"{problem.title} {title}", make) if problem.title and title else make()

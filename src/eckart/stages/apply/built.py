"""The weights of what a plan replaces each layer by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eckart.layers import weight_of
from eckart.methods import (
    Cache,
    Heirs,
    Problem,
    Weight,
    built,
    heirs,
    narrowed_problem,
    problem_of,
    reading_of,
    unit_moment,
    weighing_of,
)
from eckart.moments import Moments
from eckart.network.activation_ranges import Weighing
from eckart.records import Choice, Plan, Removal


@dataclass(frozen=True)
class Weights:
    """The new weights of one layer, in the layer's dtype.

    Attributes:
        plain: the weight refitted to make up for removed channels; None if none are removed.
        factors: the weights of the form's pieces; empty if the form is a single plain layer.
        share: what the factors lose of the predicted loss, refined or in codes.
        weighing: what errors in its activations cost, where these are rounded.
    """

    plain: Tensor | None
    factors: list[Weight]
    share: float = 1.0
    weighing: Weighing | None = None


def weights_of(model: nn.Module, plan: Plan, moments: Moments, cache: Cache) -> dict[str, Weights]:
    """The new weights of every layer that the plan changes.

    Cost: one decomposition per factored layer whose state the cache does not have, and one refit
        per layer that loses channels.
    """
    work = _Work(model, plan, moments, cache)
    return {name: work.weights(name, choice) for name, choice in plan.choices.items()}


def _in(dtype: torch.dtype, weight: Weight) -> Weight:
    """A weight in a dtype; codes stay codes."""
    return weight.to(dtype) if isinstance(weight, Tensor) else weight


@dataclass(frozen=True)
class _Work:
    model: nn.Module
    plan: Plan
    moments: Moments
    cache: Cache

    def weights(self, name: str, choice: Choice) -> Weights:
        """The new weights of one layer."""
        problem, factors, share = self._narrowed(name), list[Weight](), 1.0
        dtype = weight_of(self.model.get_submodule(name)).dtype
        if not choice.form.is_plain:
            found = built(self.cache, choice.method, problem, choice.form, name)
            factors, share = [_in(dtype, weight) for weight in found.weights], found.share
        plain = self.cache.weight(problem).to(dtype) if problem.narrowed else None
        weighing = weighing_of(problem) if choice.form.activations else None
        return Weights(plain, factors, share, weighing)

    def _narrowed(self, name: str) -> Problem:
        """A layer's problem at the width that the plan leaves to it."""
        own = self._problem(name)
        outputs, columns = None, None
        for removal in self.plan.removals.values():
            if name in removal.group.readers:
                columns = removal.group.columns_left(name, removal.kept, own.piece.inputs)
            if name in {**removal.group.writers, **removal.group.followers}:
                outputs = self._heirs(name, removal, own.piece.outputs)
        if columns is not None and len(columns) == own.piece.inputs:
            columns = None  # the units that go are of other layers
        if outputs is not None and len(outputs.rows) == own.piece.outputs:
            outputs = None
        return narrowed_problem(own, outputs, columns)

    def _heirs(self, name: str, removal: Removal, width: int) -> Heirs:
        group = removal.group
        readings = [reading_of(self._problem(reader), group, reader) for reader in group.readers]
        return heirs(group, name, lambda: unit_moment(readings), removal.kept, width)

    def _problem(self, name: str) -> Problem:
        """A layer's problem at full width."""
        layer = self.model.get_submodule(name)
        shrinkage = self.plan.shrunk.get(name)
        return problem_of(layer, name, self.moments, self.plan.damping, shrinkage)

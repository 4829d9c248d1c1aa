"""One recurrent layer in one direction of time, of plain layers: fused, or step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eckart.layers import Factored, bias_of, composed
from eckart.network.twins.cells import FUSED, STEPS
from eckart.network.twins.plain import is_hooked
from eckart.network.twins.steps import Steps
from eckart.records.forms import Multiplied

State = tuple[Tensor, Tensor]
"""The state and the cell; where a cell has none, it is empty."""
Linear = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True)
class _Walk:
    """What came up at each step: the state before it, what was projected, and the state after."""

    before: Sequence[Tensor]
    inner: Sequence[Tensor]
    after: Sequence[Tensor]
    last: State


@final
class Direction(nn.Module):
    """A layer of a recurrent network in one direction.

    Torch's own kernel runs it: factors of the input weight are a projection before a narrower
    kernel, and factors of the other weights are multiplied out for it. If somebody listens to one
    of the layers, it runs step by step, and each layer is called once for all steps.

    Attributes:
        input: from the inputs to the gates.
        recurrent: from the state before to the gates.
        projection: from what an LSTM gives to its state, if ``proj_size`` is set; else None.
    """

    multiplied: ClassVar[Mapping[str, Multiplied]] = {
        "input": "last",
        "recurrent": "all",
        "projection": "all",
    }

    def __init__(self, mode: str, backwards: bool, layers: Mapping[str, nn.Module]) -> None:
        """Of layers by name, in a mode of ``nn.RNNBase``."""
        super().__init__()
        self.mode, self.from_end = mode, backwards
        self.input, self.recurrent = layers["input"], layers["recurrent"]
        self.projection = layers.get("projection")

    def forward(self, x: Tensor, steps: Steps, state: State) -> tuple[Tensor, State]:
        """The state after each step, in the layout of ``x``, and the last one."""
        listened = any(is_hooked(m) for m in self.modules() if m is not self)
        return self._unrolled(x, steps, state) if listened else self._fused(x, steps, state)

    def _fused(self, x: Tensor, steps: Steps, state: State) -> tuple[Tensor, State]:
        parts = list(self.input) if isinstance(self.input, Factored) else [self.input]
        for part in parts[:-1]:
            x = part(x)
        biases = [bias_of(parts[-1]), bias_of(_last(self.recurrent))]
        weights = [parts[-1].weight, _whole(self.recurrent), *(b for b in biases if b is not None)]
        if self.projection is not None:
            weights.append(_whole(self.projection))
        before: Any = tuple(s[None] for s in state) if self.mode == "LSTM" else state[0][None]
        x = steps.backwards(x) if self.from_end else x
        settings = (before, weights, biases[0] is not None, 1, 0.0, self.training, False)
        kernel = FUSED[self.mode]
        if torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting():
            kernel = torch.compiler.disable(kernel)  # as torch's own layers, which run as written
        if steps.sizes is None:
            y, *after = kernel(x, *settings, steps.axis == 1)
        else:
            y, *after = kernel(x, steps.sizes, *settings)
        y = steps.backwards(y) if self.from_end else y
        return y, (after[0][0], after[1][0] if self.mode == "LSTM" else state[1])

    def _unrolled(self, x: Tensor, steps: Steps, state: State) -> tuple[Tensor, State]:
        """First without gradients, to know every state; then each layer once for all steps.

        The second walk adds what a state differs from the known one, which is nothing, so that
        gradients flow from step to step.
        """
        given = steps.split(self.input(x))
        weight, bias = _whole(self.recurrent).detach(), bias_of(_last(self.recurrent))
        down = None if self.projection is None else _whole(self.projection).detach()
        with torch.no_grad():
            known = self._walk(
                given,
                state,
                lambda _, h: F.linear(h, weight, bias),
                lambda _, m: m if down is None else F.linear(m, down),
            )
        gates = steps.split(self.recurrent(steps.joined(known.before)))
        if self.projection is None or down is None:
            project: Linear = lambda _, m: m  # noqa: E731
        else:
            states = steps.split(self.projection(steps.joined(known.inner)))
            project = _guided(states, known.inner, down)
        walk = self._walk(given, state, _guided(gates, known.before, weight), project)
        return steps.joined(walk.after), walk.last

    def _walk(self, given: Sequence[Tensor], state: State, gates: Linear, project: Linear) -> _Walk:
        """All steps; sequences that are not under way keep their state."""
        step, (h, c) = STEPS[self.mode], state
        found: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        for at in reversed(range(len(given))) if self.from_end else range(len(given)):
            count = len(given[at])
            before = h[:count]
            inner, cell = step(given[at], gates(at, before), before, c[:count])
            after = project(at, inner)
            found[at] = (before, inner, after)
            h = torch.cat([after, h[count:]]) if count < len(h) else after
            c = torch.cat([cell, c[count:]]) if count < len(c) else cell
        before_all, inner_all, after_all = zip(*(found[at] for at in sorted(found)), strict=True)
        return _Walk(before_all, inner_all, after_all, (h, c))


def _guided(values: Sequence[Tensor], known: Sequence[Tensor], weight: Tensor) -> Linear:
    """A linear map whose values at known inputs were computed before."""
    return lambda at, x: values[at] + F.linear(x - known[at], weight)


def _last(module: nn.Module) -> nn.Module:
    return module[-1] if isinstance(module, Factored) else module


def _whole(module: nn.Module) -> Tensor:
    """The weight, or the product of factors; gradients pass through."""
    if isinstance(module, Factored):
        return composed([part.weight for part in module], module.form)  # type: ignore[misc]
    weight: Tensor = module.weight  # type: ignore[assignment]
    return weight

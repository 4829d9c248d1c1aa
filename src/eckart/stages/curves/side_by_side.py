"""Layers truncated side by side: the examples are repeated, and copy i sees layer i truncated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from eckart.metrics import Measurable, count_of
from eckart.running.batches import examples_in, moved, repeated
from eckart.running.hooks import amending, watching
from eckart.running.outputs import outputs_of

_SEEN = 2.0  # a change is seen where it is so many times that of two equal runs
_NUMBERS = 2**27  # of the outputs that are held at once
_EXAMPLES = 128  # that run at once


@dataclass
class SideBySide:
    """Some examples, repeated so that each copy sees another layer truncated."""

    model: nn.Module
    truncated: Mapping[str, nn.Module]
    probe: Measurable
    inputs: Any
    alone: bool = False
    outputs: Any = field(init=False)
    shapes: dict[str, list[torch.Size]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.inputs = moved(self.inputs, self.model)
        with watching(self._layers, self._see_shape):
            self.outputs = self._run(self.inputs)
        observed = self.probe.observed(self.outputs, self.inputs)
        examples = examples_in(self.inputs)
        most = min(_NUMBERS // max(1, observed.numel()), _EXAMPLES // examples)
        by_example = observed.shape[:1] == (examples,) and not self.alone
        names, size = list(self.truncated), max(1, most) if by_example else 1
        self.chunks = [names[at : at + size] for at in range(0, len(names), size)]
        self.count = count_of(self.probe, self.inputs, self.outputs)
        self.floor = self._floor(len(self.chunks[0])) if names else 0.0

    def changes(self, names: Sequence[str]) -> dict[str, float]:
        """What truncating each of these layers changes, less the floor; zero where it is unseen."""
        split = set[str]()
        parts = self._copies(names, split)
        changes = {n: self._change(part) for n, part in zip(names, parts, strict=True)}
        unseen = {n for n, c in changes.items() if n in split or c < _SEEN * self.floor}
        return {n: 0.0 if n in unseen else c - self.floor for n, c in changes.items()}

    @property
    def _layers(self) -> dict[str, nn.Module]:
        return {name: self.model.get_submodule(name) for name in self.truncated}

    def _see_shape(self, name: str, module: nn.Module, x: Tensor) -> None:
        self.shapes.setdefault(name, []).append(x.shape)

    def _floor(self, copies: int) -> float:
        """The change of copies of which none sees a truncated layer, at most."""
        return max(self._change(part) for part in self._parts(copies))

    def _change(self, found: Tensor) -> float:
        return self.probe.change(found, self.outputs, self.inputs)

    def _copies(self, names: Sequence[str], split: set[str]) -> Sequence[Tensor]:
        """What is observed of each copy; a layer that copies cannot be told apart in is noted."""
        seen: dict[str, Tensor] = {}
        calls = dict.fromkeys(names, 0)

        def amend(name: str, module: nn.Module, output: Tensor) -> Tensor | None:
            x, call_number = seen.pop(name), calls[name]
            calls[name] += 1
            axis = _grown(x.shape, self.shapes[name][call_number:], len(names))
            if axis is None:
                split.add(name)
                return None
            amended, slot = output.clone(), names.index(name)
            part = x.chunk(len(names), axis)[slot]
            amended.chunk(len(names), axis)[slot].copy_(self.truncated[name](part))
            return amended

        layers = {name: self.model.get_submodule(name) for name in names}
        with watching(layers, lambda n, _, x: seen.update({n: x})), amending(layers, amend):
            return self._parts(len(names))

    def _parts(self, copies: int) -> Sequence[Tensor]:
        batch = repeated(self.inputs, copies)
        return self.probe.observed(self._run(batch), batch).chunk(copies)

    def _run(self, inputs: Any) -> Any:
        return outputs_of(self.model, inputs)


def _grown(found: torch.Size, once: Sequence[torch.Size], copies: int) -> int | None:
    """The axis that is so many times as long as for the examples alone; None if there is no one."""
    if copies == 1:
        return 0
    if not once or len(once[0]) != len(found):
        return None
    grown = [at for at, (n, one) in enumerate(zip(found, once[0], strict=True)) if n != one]
    return grown[0] if len(grown) == 1 and found[grown[0]] == copies * once[0][grown[0]] else None

"""Whether groups of channels can really be removed: removing them must equal masking them.

The graph that groups are found by can be wrong and still give a network that runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from eckart.layers import piece_of, weight_of
from eckart.network.removal import without_units
from eckart.network.third_party import copied_in, in_dtype
from eckart.records import ChannelGroup
from eckart.running.batches import call, first_examples, mapped, moved, tensors_in
from eckart.running.deadline import Deadline, TimeUp
from eckart.running.hooks import untouched

_SAME = 1e-6  # relative to the largest output, in float64
_EXAMPLES = 2  # of each batch of the sample
_BATCHES = 2  # of the sample
_HALF = ((0, 2),)  # where removing starts, and its step: every other unit
_BOTH = (*_HALF, (1, 1))  # and all but the first

Kept = Sequence[tuple[ChannelGroup, Sequence[int]]]


@dataclass(frozen=True)
class Trial:
    """Inputs that the network is tried on.

    Attributes:
        inputs: of a few examples.
        training: whether in train mode.
        certain: whether the network is known to run, and to give the same twice. Otherwise that is
            asked where something differs.
    """

    inputs: Any
    training: bool
    certain: bool = False


@dataclass
class Verification:
    """Groups are tried on a copy of the network in float64.

    Attributes:
        model: the network.
        example: one example's inputs.
        sample: more inputs, in batches; a few examples of the first are tried, in both modes.
        whole: whether batches cannot be cut.
        deadline: when to give up.
        given_up: the groups that were not tried to the end.
    """

    model: nn.Module
    example: Any
    sample: Sequence[Any]
    whole: bool
    deadline: Deadline
    given_up: list[ChannelGroup] = field(default_factory=list)
    _trials: Sequence[Trial] = field(init=False, default=())
    _known: dict[int, bool | None] = field(init=False, default_factory=dict)
    _steps: Sequence[tuple[int, int]] = field(init=False, default=_BOTH)

    def __post_init__(self) -> None:
        self.model = copied_in(self.model, torch.float64)

    def verified(self, groups: Sequence[ChannelGroup]) -> list[ChannelGroup]:
        """The groups whose removal equals masking, first on one example, then on the sample."""
        self._trials = [Trial(self.example, training=False, certain=True)]
        self._steps = _BOTH
        believed = self._verified(sorted(groups, key=self._kind))
        if believed:
            few = [self._few(inputs) for inputs in self.sample[:_BATCHES]]
            self._trials = [Trial(inputs, mode) for inputs in few for mode in (False, True)]
            self._steps = _HALF
            believed = self._verified(believed)
        return [group for group in groups if group in believed]

    def _kind(self, group: ChannelGroup) -> str:
        """Groups of one kind are mostly all true or all wrong, so they are tried side by side."""
        sides = (group.writers, group.readers, group.followers)
        types = [[type(self.model.get_submodule(name)).__name__ for name in side] for side in sides]
        return f"{group.size} {types}"

    def _few(self, inputs: Any) -> Any:
        return inputs if self.whole else first_examples(inputs, _EXAMPLES)

    def _verified(self, groups: Sequence[ChannelGroup]) -> list[ChannelGroup]:
        """All at once if possible, else kind by kind, else by halves."""
        try:
            self.deadline.check()
            if not groups or self._all_true(groups):
                return list(groups)
        except TimeUp:
            self.given_up += groups
            return []
        if len(groups) == 1:
            return []
        middle = self._middle(groups)
        good = self._verified(groups[:middle]) + self._verified(groups[middle:])
        return good if len(good) == len(groups) else self._together(good)

    def _middle(self, groups: Sequence[ChannelGroup]) -> int:
        """Where to split: between two kinds if there are several, as near the middle as can be."""
        kinds, half = [self._kind(group) for group in groups], len(groups) // 2
        borders = [at for at in range(1, len(kinds)) if kinds[at] != kinds[at - 1]]
        return min(borders or [half], key=lambda at: abs(at - half))

    def _together(self, groups: list[ChannelGroup]) -> list[ChannelGroup]:
        """Those of some groups that are true alone that are also true together."""
        try:
            self.deadline.check()
            if self._all_true(groups):
                return groups
            return [g for i, g in enumerate(groups) if self._all_true(groups[: i + 1])]
        except TimeUp:
            self.given_up += groups
            return []

    def _all_true(self, groups: Sequence[ChannelGroup]) -> bool:
        """Whether removing units equals masking them: every other one, and all but the first."""
        for start, step in self._steps:
            kept = [(group, list(range(start, group.size, step))) for group in groups]
            if not all(_leaves_some(group, units) for group, units in kept):
                continue
            if not all(self._same(trial, kept) for trial in self._trials):
                return False
        return True

    def _same(self, trial: Trial, kept: Kept) -> bool:
        """Whether the network computes the same with units removed as with units masked.

        Nothing is held against a group where the network itself does not run. Where chance is in
        play, only the shapes are compared.
        """
        self.deadline.check()
        try:
            with _removed(self.model, kept):  # first, because most wrong groups do not even run
                found = self._outputs(trial)
            with _masked(self.model, kept):
                expected = self._outputs(trial)
        except Exception:  # a channel that is not there, or the network does not run with fewer
            return not trial.certain and self._repeated(trial) is None
        if _equal(found, expected):
            return True
        by_chance = not trial.certain and self._repeated(trial) is False
        return by_chance and _equal(found, expected, exact=False)

    def _repeated(self, trial: Trial) -> bool | None:
        """Whether the network gives the same twice; None where it does not run in this mode."""
        if id(trial) not in self._known:
            try:
                first, second = (self._outputs(trial, seed) for seed in (0, 1))
                self._known[id(trial)] = _equal(first, second)
            except Exception:  # many networks need targets in train mode
                self._known[id(trial)] = None
        return self._known[id(trial)]

    @torch.no_grad()
    def _outputs(self, trial: Trial, seed: int = 0) -> list[Tensor]:
        with untouched(self.model):
            torch.manual_seed(seed)
            self.model.train(trial.training)
            return tensors_in(call(self.model, mapped(moved(trial.inputs, self.model), _exact)))


def _exact(tensor: Tensor) -> Tensor:
    return in_dtype(tensor, torch.float64)


def _leaves_some(group: ChannelGroup, units: Sequence[int]) -> bool:
    return all(group.rows(name, units) for name in {**group.writers, **group.followers}) and all(
        group.columns(name, units) for name in group.readers
    )


@contextmanager
def _masked(model: nn.Module, kept: Kept) -> Iterator[None]:
    """Inside, the weights that read the other units are zero."""
    before: dict[str, Tensor] = {}
    with torch.no_grad():
        try:
            for group, units in kept:
                gone = sorted(set(range(group.size)) - set(units))
                for name in group.readers:
                    layer = model.get_submodule(name)
                    weight = weight_of(layer)
                    before.setdefault(name, weight.clone())
                    at = torch.tensor(group.columns(name, gone), dtype=torch.int64).to(
                        weight.device
                    )
                    weight.index_fill_(1 - piece_of(layer).transposed, at, 0.0)
            yield
        finally:
            for name, weight in before.items():
                weight_of(model.get_submodule(name)).copy_(weight)


@contextmanager
def _removed(model: nn.Module, kept: Kept) -> Iterator[None]:
    """Inside, the other units are gone."""
    whole: Mapping[str, nn.Module] = {
        name: model.get_submodule(name) for group, _ in kept for name in group.members
    }
    holders = {name.rpartition(".")[0] for name in whole}
    numbers = {name: _numbers(model.get_submodule(name)) for name in holders}
    try:
        without_units(model, kept)
        yield
    finally:
        for name, before in numbers.items():
            vars(model.get_submodule(name)).update(before)
        for name, module in whole.items():
            model.set_submodule(name, module)


def _numbers(module: nn.Module) -> dict[str, int]:
    """What a module counts."""
    return {name: n for name, n in vars(module).items() if type(n) is int}


def _equal(ours: Sequence[Tensor], theirs: Sequence[Tensor], exact: bool = True) -> bool:
    if [t.shape for t in ours] != [t.shape for t in theirs]:
        return False
    return not exact or all(
        bool((a - b).abs().max() <= _SAME * b.abs().max().clamp_min(1e-12))
        for a, b in zip(ours, theirs, strict=True)
        if a.numel() and a.is_floating_point()
    )

"""What losses are computed from: a network, its moments and a damping."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from eckart.errors import NotShrunkWarning
from eckart.layers import alone
from eckart.methods import Cache, Problem, Reading, methods_named, problem_of, reading_of
from eckart.moments import Moments
from eckart.moments.excerpt import excerpt
from eckart.moments.shrinkage import shrinkage_of
from eckart.records import ChannelGroup, Offer, Option
from eckart.records.offer import AUTO, DAMPING
from eckart.records.shrinkage import Shrinkage

_MOST_BYTES = 2**30  # of the problems that are held, because each is asked for several times


@dataclass
class Bench:
    """What losses are computed from, and the states that were prepared for them."""

    model: nn.Module
    moments: Moments
    damping: float
    shrunk: Mapping[str, Shrinkage] = field(default_factory=dict)
    workspace: str | Path | None = None
    found: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _held: dict[str, Problem] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        moments: Moments,
        offer: Offer,
        names: Iterable[str],
        workspace: str | Path | None = None,
        found: Mapping[str, Any] | None = None,
    ) -> Bench:
        """The bench for an offer, which may leave it to the data how far moments are shrunk.

        Args:
            model: the dense network.
            moments: its moments.
            offer: has the damping.
            names: of the layers.
            workspace: a folder that keeps results, if the moments are not in one.
            found: results of an earlier call, by title.
        """
        if offer.damping != AUTO:
            return cls(model, moments, float(offer.damping), {}, workspace, found or {})
        weights = {name: shrinkage_of(moments, name) for name in names}
        shrunk = {k: v for k, v in weights.items() if v is not None}
        if weights and not shrunk:
            warnings.warn(_not_shrunk(moments), NotShrunkWarning, stacklevel=1)  # once per process
        return cls(model, moments, DAMPING, shrunk, workspace, found or {})

    @cached_property
    def cache(self) -> Cache:
        """States of the layers at full width, and the results of other tasks."""
        return Cache.beside(self.moments, self.found, self.workspace)

    @cached_property
    def layers(self) -> Mapping[str, nn.Module]:
        """Modules by name."""
        return dict(self.model.named_modules())

    def problem(self, name: str) -> Problem:
        """One layer's problem at full width; those asked for last are held, up to a limit."""
        found = self._held.pop(name, None)
        if found is None:
            shrinkage = self.shrunk.get(name)
            found = problem_of(self.layers[name], name, self.moments, self.damping, shrinkage)
        self._held[name] = found  # as the last
        while len(self._held) > 1 and sum(map(_nbytes, self._held.values())) > _MOST_BYTES:
            del self._held[next(iter(self._held))]
        return found

    @property
    def paths(self) -> tuple[Path, ...]:
        """The folder that the moments are read from, if they are not in memory."""
        own = self.moments.decompositions
        return () if own is None else (own.parent,)

    def part(self, names: Iterable[str], states: Iterable[str] = ()) -> Bench:
        """What is needed of some layers, to be sent to another machine: weights and moments.

        The network itself is not in it. Moments in a workspace are read there by the other machine.

        Args:
            names: of the layers.
            states: titles of what was prepared for them, and should go along.
        """
        some = list(dict.fromkeys(names))
        weights = {name: self.shrunk[name] for name in some if name in self.shrunk}
        found = Bench(nn.Module(), excerpt(self.moments, some), self.damping, weights)
        found.layers = {name: alone(self.layers[name]) for name in some}
        held = self.cache.states
        known = {title: held[title] for title in states if title in held}
        found.cache = Cache(self.cache.most_bytes, self.moments.decompositions, known)
        return found

    def titles(self, names: Iterable[str]) -> list[str]:
        """The titles of some layers' problems."""
        return [self.problem(name).title for name in names]

    def built(self, problem: Problem, option: Option) -> Sequence[Tensor]:
        """The weights of an option's pieces."""
        (method,) = methods_named([option.method])
        return method.build(self.cache.state(method, problem), option.form)

    def readings(self, group: ChannelGroup) -> list[Reading]:
        """How each reader of a group reads it."""
        return [reading_of(self.problem(name), group, name) for name in group.readers]


def _not_shrunk(moments: Moments) -> str:
    """Why no moment is shrunk, and what to do."""
    old = "the moments are of an older version, which does not say how noisy they are"
    why = "all calibration examples came in one batch" if moments.scatters else old
    how = "give the examples in two batches or more" if moments.scatters else "calibrate again"
    return (
        f"{why}, so damping='auto' cannot shrink them by what they say and damps them by "
        f"{DAMPING:g}: {how}, or choose a damping"
    )


def _nbytes(problem: Problem) -> int:
    """Bytes of a problem's matrices, once all of them are needed."""
    groups, out, inputs = problem.piece.moment_shape
    return 8 * groups * (2 * out * inputs + inputs * inputs + out * out)


def half_sized(problem: Problem, options: Sequence[Option]) -> Option | None:
    """The largest option of at most half a layer's parameters, by the last method that has one."""
    half = [o for o in options if o.form.params <= problem.piece.params / 2]
    same = [o for o in half if o.method == half[-1].method]
    return max(same, key=lambda o: o.form.params, default=None)

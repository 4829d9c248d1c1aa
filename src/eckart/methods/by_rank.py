"""Forms of one chain by their rank, with what each loses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from eckart.methods.problem import Problem
from eckart.methods.registry import Method
from eckart.records import Form


@dataclass(frozen=True)
class ByRank:
    """The losses of ranks from one on, and their forms, whose sizes grow evenly.

    Attributes:
        losses: that of rank one, of rank two, and so on.
        form: the form of a rank. Only a few of them are made, because that takes longer than their
            losses.
    """

    losses: Sequence[float]
    form: Callable[[int], Form]

    def spaced(self, step: float, fits: Callable[[Form], bool]) -> Iterator[tuple[Form, float]]:
        """Forms that fit, the smallest first, whose parameters are at least a step apart."""
        rank, apart = 1, self._apart(step)
        while rank <= len(self.losses):
            form = self.form(rank)
            found = fits(form)
            if found:
                yield form, self.losses[rank - 1]
            rank += apart if found else 1

    def _apart(self, step: float) -> int:
        """How many ranks a step is."""
        if len(self.losses) < 2:
            return 1
        return max(1, round(step / (self.form(2).params - self.form(1).params)))


@runtime_checkable
class Foreseeing(Method, Protocol):
    """A method that knows losses before factors: for layers of which few will be built."""

    def foreseen(self, problem: Problem) -> Sequence[ByRank]:
        """The losses by rank, of each kind of chain; the same as ``losses`` of a state tells."""

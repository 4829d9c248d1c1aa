"""Two networks timed side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import nn

from eckart.records.budgets import is_fraction
from eckart.runtimes.clocks import Clock, Times, clock_of, interleaved
from eckart.runtimes.registry import Run, Runtime

_ROUNDS, _SECONDS = 15, 0.5


@dataclass(frozen=True)
class Pace:
    """The times of a dense and a smaller network that took turns.

    Attributes:
        dense, smaller: as many samples of both.
    """

    dense: Times
    smaller: Times

    @property
    def share(self) -> float:
        """The time of the smaller network as a fraction of the dense one's.

        The larger of two figures: from the fastest samples, and the usual one of neighbours.
        """
        pairs = zip(self.smaller.samples, self.dense.samples, strict=True)
        usual = median(after / max(before, 1e-9) for after, before in pairs)
        return max(usual, self.smaller.least / max(self.dense.least, 1e-9))

    def spent(self, limit: float) -> float:
        """How much of a limit is used: a fraction of dense up to 1, or milliseconds."""
        return (self.share if is_fraction(limit) else self.smaller.median) / limit

    def __str__(self) -> str:
        return f"{self.smaller.median:.3g} ms of {self.dense.median:.3g} ({self.share:.2f} × dense)"


class Pacer:
    """Times networks beside one dense network, which is made ready once."""

    def __init__(self, runtime: Runtime, dense: nn.Module, inputs: Any, threads: int) -> None:
        self.runtime, self.inputs, self.threads = runtime, inputs, threads
        self._dense: Run = runtime.prepare(dense, inputs, threads)
        device = next(iter(dense.parameters()), torch.empty(0)).device
        self._clock: Clock = runtime.clock or clock_of(threads, device)

    def of(self, smaller: nn.Module) -> Callable[[], Pace]:
        """A network made ready: each call is a new measurement of it beside the dense one."""
        return self.beside(self.runtime.prepare(smaller, self.inputs, self.threads))

    def beside(self, run: Run) -> Callable[[], Pace]:
        """The same for a network that runs already."""

        def pace() -> Pace:
            return Pace(*interleaved([self._dense, run], _ROUNDS, self._clock, _SECONDS))

        return pace

"""Linear layers in few bits: ways of rounding, each with the triangles that it needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.peers.rounding import by_size, covering_grid
from eckart.linalg import damped
from eckart.linalg.rounding import (
    Choice,
    Rounded,
    Triangle,
    choose_grid,
    round_weight,
    stored_bytes,
    triangle,
)

Timed = tuple[float, Triangle | None]


@dataclass(frozen=True)
class Way:
    """How a weight is rounded.

    Attributes:
        a: damping of the moment of the inputs; None leaves the moment out.
        g: damping of the moment of the gradients; None leaves the moment out, and infinity leaves
            its mean, so that layers can be compared.
        usual: whether grids cover all weights, with zero points, and inputs of the largest mean
            square come first; else both are chosen by what they are expected to lose.
        span: inputs that share a scale.
        zeros: whether each scale has a zero point.
        shrunk: whether the moments are shrunk as their batches say.
    """

    a: float | None = None
    g: float | None = None
    usual: bool = False
    span: int = 64
    zeros: bool = False
    shrunk: bool = False

    def bits(self, weight: Tensor, width: int) -> int:
        """All bits that a weight takes, with scales and zero points."""
        symmetric = not (self.usual or self.zeros)
        out, inputs = weight.shape[-2:]
        return 8 * stored_bytes(out, inputs, width, self.span, symmetric=symmetric)


@dataclass(frozen=True, eq=False)
class Rounding:
    """One layer's weight and moments, and the triangles that several ways share.

    Attributes:
        weight: shape (1, out, in).
        moments: ``a``, ``g``, ``shrunk a`` and ``shrunk g``.
        known: triangles, with the seconds that they took.
    """

    weight: Tensor
    moments: Mapping[str, Callable[[], Tensor]]
    known: dict[tuple[str, float, bool], Timed] = field(default_factory=dict)

    def rounded(self, way: Way, width: int) -> tuple[float, Rounded]:
        """The seconds that it takes alone, and the weight in codes."""
        (spent, a), (more, g) = self._triangles(way)
        start = time.process_time()
        if way.usual:
            grid = covering_grid(self.weight, width, way.span)
        else:
            grid = self._choice(way, width).grid
        found = round_weight(self.weight, grid, a=a, g=g)
        return spent + more + time.process_time() - start, found

    def losses(self, way: Way, widths: Sequence[int]) -> list[float]:
        """What every width is expected to lose."""
        return [self._choice(way, width).loss for width in widths]

    def lost(self, found: Rounded) -> float:
        """The loss under the moments as they are, without damping."""
        error = self.weight - found.weight.double()
        moved = self.moments["g"]() @ error @ self.moments["a"]()
        return 0.5 * float((moved * error).sum())

    def _choice(self, way: Way, width: int) -> Choice:
        (_, a), (_, g) = self._triangles(way)
        return choose_grid(self.weight, width, way.span, a=a, g=g, symmetric=not way.zeros)

    def _triangles(self, way: Way) -> tuple[Timed, Timed]:
        a, g = ("shrunk a", "shrunk g") if way.shrunk else ("a", "g")
        return self._triangle(a, way.a, way.usual), self._triangle(g, way.g, False)

    def _triangle(self, side: str, damping: float | None, usual: bool) -> Timed:
        if damping is None:
            return 0.0, None
        key = side, damping, usual
        if key not in self.known:
            start = time.process_time()
            moment = _regular(self.moments[side](), damping)
            found = (by_size if usual else triangle)(moment)
            self.known[key] = time.process_time() - start, found
        return self.known[key]


def _regular(moment: Tensor, damping: float) -> Tensor:
    if damping < float("inf"):
        return damped(moment, damping)
    mean = moment.diagonal(dim1=1, dim2=2).mean(1)
    return mean[:, None, None] * torch.eye(moment.shape[-1], dtype=moment.dtype)


def cheapest(
    losses: Sequence[Sequence[float]], sizes: Sequence[Sequence[int]], allowed: float
) -> list[int]:
    """The option of each layer that loses least under one price per byte, within all bytes."""
    table, size = torch.tensor(losses).double(), torch.tensor(sizes).double()

    def chosen(price: float) -> Tensor:
        return (table + price * size).argmin(1)

    def total(price: float) -> float:
        return float(size.gather(1, chosen(price)[:, None]).sum())

    low, high = 0.0, float(table.sum())
    if total(high) > allowed:
        raise ValueError(f"{allowed:.0f} bytes: the least is {total(high):.0f}")
    for _ in range(100):
        price = (low + high) / 2
        low, high = (price, high) if total(price) > allowed else (low, price)
    return chosen(high).tolist()

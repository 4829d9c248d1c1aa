"""What the activations of layers are rounded to, and how much that changes them.

A tensor that several layers read has one range. Where a layer's output, after its norm and an
activation, is what another layer reads, it has that range too, so it is rounded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from eckart.layers import Levels, piece_of
from eckart.layers.activations import TOP
from eckart.network.norm_readers import factors_of, norms_after, shifts_of
from eckart.running.batches import call, examples_in, moved, some_examples
from eckart.running.hooks import amending, untouched, watching

_EXAMPLES, _TOGETHER = 64, 8  # of the sample; how many run at once
_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)  # of the range of all numbers


@dataclass(frozen=True)
class Weighing:
    """How much an error in each channel costs.

    Attributes:
        inputs: per squared error of each input channel.
        outputs: per squared error of each output channel.
    """

    inputs: Float64[Tensor, " inputs"]
    outputs: Float64[Tensor, " outputs"]


@dataclass(frozen=True)
class Range:
    """What one layer's activations are rounded to.

    Attributes:
        input: what comes in.
        output: factor and offset of each output channel, see ``eckart.layers.Activations``.
        loss: half of the squared errors, weighed; an error that a reader has counted is left out.
    """

    input: Levels
    output: Float[Tensor, "2 outputs"] | None
    loss: float


@torch.no_grad()
def ranges_of(
    model: nn.Module, weighing: Mapping[str, Weighing], sample: Sequence[Any]
) -> dict[str, Range]:
    """The ranges of some layers of a network, of the least weighed error on a sample.

    Layers that the sample does not call are left out.

    Args:
        model: whose activations are not rounded.
        weighing: by layer.
        sample: inputs in batches.

    Cost: three forward passes of 64 examples, and the rounding of all activations at a few scales.
    """
    with untouched(model):
        batches = list(_batches(model, sample))
        if not batches:
            return {}
        seeing = _Seeing(model, list(weighing), batches[0])
        tensors = {**_read(seeing, weighing), **_written(seeing, weighing)}
        for inputs in batches:
            for at, values in seeing.of(inputs).items():
                tensors[at].widen(values)
        for inputs in batches:
            for at, values in seeing.of(inputs).items():
                tensors[at].try_shares(values)
    return {name: _range(seeing, name, tensors) for name in seeing.reads}


def _batches(model: nn.Module, sample: Sequence[Any]) -> Iterator[Any]:
    """A few examples at a time."""
    left = _EXAMPLES
    for inputs in sample:
        count = min(left, examples_in(inputs))
        for at in range(0, count, _TOGETHER):
            rows = list(range(at, min(at + _TOGETHER, count)))
            yield moved(some_examples(inputs, rows), model)
        left -= count


_At = tuple[str, str]
"""A tensor: "in" and the first layer that reads it, or "out" and the layer that writes it."""


class _Seeing:
    """The tensors that layers read and write, and which of them are the same."""

    def __init__(self, model: nn.Module, names: Sequence[str], inputs: Any) -> None:
        """Run the model once to find out what follows what."""
        self.model = model
        self.layers = {name: model.get_submodule(name) for name in names}
        pairs = norms_after(model, inputs)
        self.norms = {n: model.get_submodule(pairs[n]) for n in names if n in pairs}
        read, written = self._run(inputs)
        self.reads: dict[str, str] = {}
        for name, x in read.items():
            first = (n for n in self.reads.values() if _equal(x, read[n]))
            self.reads[name] = next(first, name)
        self.follows = {name: self._reader(y, read) for name, y in written.items()}

    def of(self, inputs: Any) -> dict[_At, list[Tensor]]:
        """The tensors of one batch, each once."""
        read, written = self._run(inputs)
        found = {("in", n): x for n, x in read.items() if self.reads.get(n) == n}
        return found | {("out", n): y for n, y in written.items() if self.follows.get(n) == ""}

    def _run(self, inputs: Any) -> tuple[dict[str, list[Tensor]], dict[str, list[Tensor]]]:
        """What each layer reads, and what convolutions write, after their norms."""
        read: dict[str, list[Tensor]] = {}
        written: dict[str, list[Tensor]] = {}

        def see(name: str, module: nn.Module, x: Tensor) -> None:
            read.setdefault(name, []).append(x.clone())

        def write(name: str, module: nn.Module, y: Tensor) -> None:
            norm = self.norms.get(name)
            written.setdefault(name, []).append(y.clone() if norm is None else norm(y))

        convolutions = {n: m for n, m in self.layers.items() if piece_of(m).kernel}
        with watching(self.layers, see), amending(convolutions, write):
            call(self.model, inputs)
        return read, written

    def _reader(self, y: list[Tensor], read: Mapping[str, list[Tensor]]) -> str:
        """The layer that reads an output, after a ReLU perhaps; empty if there is none."""
        cut = (y, [t.relu() for t in y], [t.clamp(0, 6) for t in y])
        readers = dict.fromkeys(self.reads.values())
        return next((n for n in readers if any(_equal(read[n], values) for values in cut)), "")


def _equal(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    same = [a.shape == b.shape and torch.equal(a, b) for a, b in zip(some, others, strict=False)]
    return len(some) == len(others) and all(same)


class _Tensor:
    """One tensor: the range of its numbers, and the weighed error at several shares of it."""

    def __init__(self, weights: Tensor, axes: int) -> None:
        self.weights, self._channel = weights, -1 - axes
        self._low = self._high = 0.0
        self._errors, self._count = [0.0] * len(_SHARES), 0

    def widen(self, values: Sequence[Tensor]) -> None:
        """Take numbers into the range, which has zero in it."""
        self._low = min(self._low, *(float(x.min()) for x in values))
        self._high = max(self._high, *(float(x.max()) for x in values))

    def try_shares(self, values: Sequence[Tensor]) -> None:
        """Round to the levels of every share."""
        for x in values:
            rows = x.movedim(self._channel, -1).reshape(-1, x.shape[self._channel]).float()
            weights = self.weights.to(x.device)
            self._count += len(rows)
            for at, share in enumerate(_SHARES):
                squares = (self._levels(share).rounded(rows) - rows).square().sum(0)
                self._errors[at] += float((squares.double() * weights).sum())

    @property
    def best(self) -> tuple[Levels, float]:
        """The levels of the least error, and half of that error per row."""
        error, at = min((error, at) for at, error in enumerate(self._errors))
        return self._levels(_SHARES[at]), 0.5 * error / max(1, self._count)

    def _levels(self, share: float) -> Levels:
        scale = (self._high - self._low) * share / TOP
        return Levels(scale, round(-self._low * share / scale)) if scale > 0 else Levels(1.0, 0)


def _read(seeing: _Seeing, weighing: Mapping[str, Weighing]) -> dict[_At, _Tensor]:
    """What layers read; an error counts for all that read it."""
    found: dict[_At, _Tensor] = {}
    for name, first in seeing.reads.items():
        weights = weighing[name].inputs
        if ("in", first) in found:
            found["in", first].weights = found["in", first].weights + weights
        else:
            axes = len(piece_of(seeing.layers[name]).kernel)
            found["in", first] = _Tensor(weights, axes)
    return found


def _written(seeing: _Seeing, weighing: Mapping[str, Weighing]) -> dict[_At, _Tensor]:
    """What convolutions write, after their norms, where no other layer reads it."""
    found: dict[_At, _Tensor] = {}
    for name in (name for name, reader in seeing.follows.items() if not reader):
        weights, norm = weighing[name].outputs, seeing.norms.get(name)
        if norm is not None:
            squares = factors_of(norm).to(weights.device).square()
            weights = torch.where(squares > 0, weights / squares, 0.0)
        found["out", name] = _Tensor(weights, len(piece_of(seeing.layers[name]).kernel))
    return found


def _range(seeing: _Seeing, name: str, tensors: Mapping[_At, _Tensor]) -> Range:
    """What one layer's activations are rounded to."""
    first = seeing.reads[name]
    levels, loss = tensors["in", first].best
    if first != name:  # the error is counted for the first of those that read it
        loss = 0.0
    if name not in seeing.follows:
        return Range(levels, None, loss)
    reader = seeing.follows[name]
    after, more = tensors["in", reader].best if reader else tensors["out", name].best
    return Range(levels, _by_channel(seeing, name, after), loss + more * (not reader))


def _by_channel(seeing: _Seeing, name: str, levels: Levels) -> Tensor:
    """Factor and offset of each channel before the norm."""
    norm, width = seeing.norms.get(name), piece_of(seeing.layers[name]).outputs
    factors = torch.ones(width, dtype=torch.float64) if norm is None else factors_of(norm).cpu()
    shifts = torch.zeros_like(factors) if norm is None else shifts_of(norm).cpu()
    return torch.stack([factors / levels.scale, shifts / levels.scale + levels.zero]).float()

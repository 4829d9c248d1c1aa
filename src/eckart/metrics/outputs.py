"""The squared change of everything that a network returns, each output relative to its spread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

from eckart.errors import InputError
from eckart.metrics.floating import HANDED_ON, Floating, floating
from eckart.metrics.logits import half_square, without_padding
from eckart.metrics.probes import Probe
from eckart.metrics.spreading import spread_of
from eckart.records.naming import names_in
from eckart.records.offer import AUTO
from eckart.records.spreads import Spread
from eckart.running.batches import examples_in, inputs_of, tensors_in

NOT_CHOSEN = "not among outputs="
_NOTHING = (
    "found no floating tensor in an output of type {}: return tensors in tuples, lists, dicts or "
    "dataclasses, or pass metric= a probe(outputs, batch, generator) of your own"
)

Tensors = Mapping[str, tuple[Tensor, ...]]
Chosen = str | Iterable[str] | Mapping[str, float] | None
"""Outputs by path or pattern, with weights if it is a mapping; None is all."""


@dataclass(frozen=True)
class Outputs:
    """Squared change of all floating outputs, wherever in tuples, lists, dicts, dataclasses.

    A network with one output is measured as ``Logits`` measures it. Where there are several, the
    change of each is divided by its spread: the squared distance from its mean over the calibration
    data, summed over its entries. The unit is then half the sum of the relative squared errors, so
    neither a large output nor one of large numbers drowns the others.

    Attributes:
        weights: which outputs count, by path or shell pattern, and how much beside the others; None
            is all of them, alike.
        scales: what the squared change of each output is multiplied by; None is 1. The moments know
            them after calibration.

    Source: Gauss–Newton matrix by random projections (Hutchinson 1990).
    """

    weights: Mapping[str, float] | None = None
    scales: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        wrong = [k for k, v in (self.weights or {}).items() if not 0 < v < float("inf")]
        if wrong or self.weights == {}:
            raise InputError(
                f"outputs={self.weights!r:.200}: name at least one output, with positive weights"
            )

    def __call__(self, outputs: Any, batch: Any, generator: torch.Generator) -> Tensor:
        """``Σ v · z`` over all outputs, at their scales."""
        parts = self.parts(outputs, batch, generator)
        return torch.stack([part * self._scale(path) ** 0.5 for path, part in parts.items()]).sum()

    def parts(self, outputs: Any, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        """``Σ v · z`` for each output alone, by path: one Gaussian number per entry."""
        return {
            path: _summed([_probed(z, batch, generator) for z in tensors])
            for path, tensors in self.tensors(outputs, batch).items()
        }

    def spreads(self, outputs: Any, batch: Any) -> dict[str, Spread]:
        """What the outputs of one batch add to the sums that their spread is computed from.

        Raises:
            NonFiniteError: an output holds NaN.
        """
        found = self.tensors(outputs, batch)
        weights = self.weight_by_path(list(found))
        return {k: spread_of(k, tensors, batch, weights[k]) for k, tensors in found.items()}

    def left_out(self, outputs: Any, batch: Any) -> dict[str, str]:
        """Why each other part of the outputs does not count, by path."""
        found = _floating(outputs, batch)
        chosen = self.weight_by_path(found.paths)
        others = dict(found.left_out)
        if self.weights is None:
            return others | dict.fromkeys(found.inner, HANDED_ON)
        floats = [*found.values, *found.inner]
        return others | {path: NOT_CHOSEN for path in floats if path not in chosen}

    def tensors(self, outputs: Any, batch: Any) -> Tensors:
        """The tensors that count, by path.

        Raises:
            InputError: there is no floating tensor at all.
        """
        found = _floating(outputs, batch)
        if not found.paths:
            raise InputError(_NOTHING.format(type(outputs).__name__))
        if self.weights is None:
            return found.values
        chosen = self.weight_by_path([*found.values, *found.inner])
        return {k: v for k, v in {**found.values, **found.inner}.items() if k in chosen}

    def check_names(self, outputs: Any, batch: Any) -> None:
        """Raise ``InputError`` if a name or pattern matches no part of the outputs."""
        paths = _floating(outputs, batch).paths
        for pattern in self.weights or {}:
            if not any(_matches(path, pattern) for path in paths):
                listed = ", ".join(path or "'' (the output itself)" for path in paths)
                raise InputError(f"no output matches {pattern!r}; outputs are: {listed:.500}")

    def weight_by_path(self, paths: list[str]) -> dict[str, float]:
        """The weight of each output that counts; the first name or pattern that fits decides."""
        if self.weights is None:
            return dict.fromkeys(paths, 1.0)
        fitting = {
            path: [w for pattern, w in self.weights.items() if _matches(path, pattern)]
            for path in paths
        }
        return {path: found[0] for path, found in fitting.items() if found}

    def observed(self, outputs: Any, batch: Any) -> Tensor:
        """All outputs, one row per example; a single tensor is returned as it is.

        Where an output is not one tensor with one row per example, everything is in one row.
        """
        found = self._compared(outputs, batch)
        if len(found) == 1 and len(found[0][1]) == 1:
            return found[0][1][0]
        count = examples_in(inputs_of(batch))
        rows = all(len(zs) == 1 and len(zs[0]) == count for _, zs in found)
        parts = [self._scaled(path, z, batch) for path, zs in found for z in zs]
        if not rows:
            return torch.cat([part.flatten() for part in parts])
        return torch.cat([part.reshape(count, part[0].numel()) for part in parts], 1)

    def change(self, found: Tensor, outputs: Any, batch: Any) -> float:
        """Half the squared change of the outputs; NaN where their number has changed."""
        before = self.observed(outputs, batch)
        if before.shape != found.shape:
            return float("nan")
        change = found.double() - before.double()
        change = change.where(torch.isfinite(before), 0.0)
        compared = self._compared(outputs, batch)
        if len(compared) == 1 and len(compared[0][1]) == 1:
            return self._scale(compared[0][0]) * half_square(change, batch)
        return 0.5 * float(change.square().sum())

    def _compared(self, outputs: Any, batch: Any) -> list[tuple[str, tuple[Tensor, ...]]]:
        found = self.tensors(outputs, batch).items()
        return [(k, v) for k, v in found if self.scales is None or k in self.scales]

    def _scaled(self, path: str, z: Tensor, batch: Any) -> Tensor:
        return without_padding(z.double() * self._scale(path) ** 0.5, batch)

    def _scale(self, path: str) -> float:
        return 1.0 if self.scales is None else self.scales.get(path, 0.0)


def with_outputs(metric: str | Probe | None, chosen: Chosen) -> str | Probe | None:
    """The metric with the outputs that were asked for.

    Raises:
        InputError: it is not the metric of all outputs.
    """
    if chosen is None:
        return metric
    if metric not in (AUTO, "outputs"):
        raise InputError(
            f"outputs= chooses among the floating outputs, which metric={metric!r:.100} does not "
            "read: leave one of the two out"
        )
    names = names_in("outputs", chosen)
    weights = chosen if isinstance(chosen, Mapping) else dict.fromkeys(names, 1.0)
    return Outputs({str(path): float(weight) for path, weight in weights.items()})


def _floating(outputs: Any, batch: Any) -> Floating:
    inputs = inputs_of(batch)
    known = any(t.dim() > 0 for t in tensors_in(inputs, objects=True))
    count = examples_in(inputs) if known else None
    return floating(outputs, count, listed=isinstance(inputs, list))


def _probed(z: Tensor, batch: Any, generator: torch.Generator) -> Tensor:
    """``Σ v z`` with Gaussian ``v``, zero at padding and where an output is infinite."""
    v = without_padding(torch.randn(z.shape, generator=generator), batch).to(z)
    finite = torch.isfinite(z.detach())
    return (z * v).sum() if bool(finite.all()) else (z.where(finite, 0.0) * v).sum()


def _summed(values: list[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else torch.stack(values).sum()


def _matches(path: str, pattern: str) -> bool:
    return path == pattern or fnmatchcase(path, pattern)

"""Statistics: every channel's mean and variance made those of the teacher, without labels.

Means alone are not corrected: that is harmful. Where a layer's output is normalised, the norm's
scale and shift take the correction, otherwise the layer's own rows and bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from eckart.batches import call, inputs_of
from eckart.layers import Factored, bias_of, norm_width, type_of, weight_of
from eckart.progress import tracked
from eckart.stages.heal.treatments import Case
from eckart.watch import amending, watching

_LEAST = 1e-6  # of the teacher's variance; below it a channel is constant and not scaled
_ROUNDS = 1  # plain passes after the first


@dataclass
class Statistics:
    """Sums per channel that give means and variances.

    Attributes:
        rows: how many values each channel has given.
        total, squares: their sums, shape (channels,).
    """

    rows: int = 0
    total: Tensor | float = 0.0
    squares: Tensor | float = 0.0

    def add(self, values: Tensor) -> Statistics:
        """Take in (rows, channels); returns those of these values alone."""
        values = values.double()
        fresh = Statistics(len(values), values.sum(0), values.square().sum(0))
        self.rows += fresh.rows
        self.total = self.total + fresh.total
        self.squares = self.squares + fresh.squares
        return fresh

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance per channel."""
        mean = torch.as_tensor(self.total) / self.rows
        return mean, (torch.as_tensor(self.squares) / self.rows - mean.square()).clamp_min(0)


@final
@dataclass(frozen=True)
class Correct:
    """The first pass corrects each batch as it runs, so later layers see earlier ones corrected.

    Attributes:
        name: in the registry.
    """

    name: str = "correct"

    def needs(self, case: Case) -> str | None:
        """A norm with statistics, or a layer with a bias, that the teacher has too."""
        return None if _sites(case) else "no batch norm and no bias to correct"

    @torch.no_grad()
    def treat(self, case: Case) -> None:
        """One pass that corrects as it runs, then plain ones."""
        sites = _sites(case)
        for round_ in range(1 + _ROUNDS):
            run = _Pass(case, sites, amends=round_ == 0)
            for batch in tracked(case.batches, "correcting", case.progress):
                run.take(inputs_of(batch))
            run.correct()
            case.offer(case.student, f"{len(sites)} layers, pass {round_ + 1}")


@dataclass
class _Pass:
    """One pass of both networks over the data."""

    case: Case
    sites: Mapping[str, Tensor | None]
    amends: bool
    ours: dict[str, Statistics] = field(default_factory=dict)
    theirs: dict[str, Statistics] = field(default_factory=dict)
    _batch: dict[str, list[Statistics]] = field(default_factory=dict)

    def take(self, inputs: object) -> None:
        """Run the teacher, then the student, on one batch."""
        self._batch = {}
        with amending(self._of(self.case.teacher), self._see_teacher):
            call(self.case.teacher, inputs)
        with amending(self._of(self.case.student), self._see_student):
            call(self.case.student, inputs)

    def correct(self) -> None:
        """Change scales and shifts for good."""
        for name, module in self._of(self.case.student).items():
            if name in self.ours:
                scale, shift = _affine(self.ours[name], self.theirs[name])
                _rescale(module[-1] if isinstance(module, Factored) else module, scale, shift)

    def _of(self, network: nn.Module) -> dict[str, nn.Module]:
        return {name: network.get_submodule(name) for name in self.sites}

    def _see_teacher(self, name: str, module: nn.Module, output: Tensor) -> None:
        rows, kept = _rows(module, output), self.sites[name]
        fresh = self.theirs.setdefault(name, Statistics())
        self._batch.setdefault(name, []).append(fresh.add(rows if kept is None else rows[:, kept]))

    def _see_student(self, name: str, module: nn.Module, output: Tensor) -> Tensor | None:
        fresh = self.ours.setdefault(name, Statistics()).add(_rows(module, output))
        if not self.amends:
            return None
        scale, shift = _affine(fresh, self._batch[name].pop(0))
        axis = _axis(module, output)
        shape = [-1 if i == axis else 1 for i in range(output.dim())]
        return (output * scale.reshape(shape) + shift.reshape(shape)).to(output.dtype)


def _affine(
    ours: Statistics, theirs: Statistics
) -> tuple[Float64[Tensor, " n"], Float64[Tensor, " n"]]:
    """Scale and shift that give our channels their means and variances."""
    (mean, variance), (wanted, spread) = ours.moments(), theirs.moments()
    constant = variance <= _LEAST * spread
    scale = torch.where(constant, 1.0, (spread / variance.clamp_min(1e-300)).sqrt())
    return scale, wanted - scale * mean


def _rescale(module: nn.Module, scale: Tensor, shift: Tensor) -> None:
    """Multiply a module's outputs by ``scale`` and add ``shift``, per channel."""
    weight, bias = weight_of(module), bias_of(module)
    weight.mul_(scale.reshape(-1, *[1] * (weight.dim() - 1)))
    if bias is not None:
        bias.copy_(bias * scale + shift)


def _sites(case: Case) -> dict[str, Tensor | None]:
    """Modules to correct, with the teacher's channels that they still have (None: all)."""
    known = dict(case.teacher.named_modules())
    normalised = _normalised(case)
    sites = {}
    for name, module in case.student.named_modules():
        if name and name in known and _correctable(module) and name not in normalised:
            sites[name] = _kept(case, name)
    inside = tuple(f"{n}." for n, m in case.student.named_modules() if isinstance(m, Factored))
    return {name: kept for name, kept in sites.items() if not name.startswith(inside or ("\0",))}


def _correctable(module: nn.Module) -> bool:
    last = module[-1] if isinstance(module, Factored) else module
    if type_of(last) is None and (norm_width(last) is None or isinstance(last, nn.PReLU)):
        return False
    return bias_of(last) is not None and last.weight is not None


@torch.no_grad()
def _normalised(case: Case) -> set[str]:
    """Layers whose output a norm takes in: nothing of theirs is left to correct."""
    outputs: dict[int, tuple[str, Tensor]] = {}
    found = set[str]()
    modules = dict(case.student.named_modules())
    layers = {n: m for n, m in modules.items() if type_of(m) or isinstance(m, Factored)}
    norms = {n: m for n, m in modules.items() if norm_width(m) is not None}

    def keep(name: str, module: nn.Module, output: Tensor) -> None:
        outputs[id(output)] = (name, output)

    def look(name: str, module: nn.Module, x: Tensor) -> None:
        if id(x) in outputs:
            found.add(outputs[id(x)][0])

    with amending(layers, keep), watching(norms, look):
        call(case.student, inputs_of(next(iter(case.batches))))
    return found


def _kept(case: Case, name: str) -> Tensor | None:
    """The teacher's output channels that a module still has."""
    for removal in case.plan.removals.values() if case.plan else ():
        group = removal.group
        if name in {**group.writers, **group.followers}:
            module = case.teacher.get_submodule(name)
            width = norm_width(module) or weight_of(module).shape[0]
            return torch.tensor(group.rows_left(name, removal.kept, width))
    return None


def _axis(module: nn.Module, output: Tensor) -> int:
    """The axis of the channels: the last for a matrix, otherwise the second."""
    last = module[-1] if isinstance(module, Factored) else module
    return output.dim() - 1 if isinstance(last, nn.Linear) else 1


def _rows(module: nn.Module, output: Tensor) -> Tensor:
    """(rows, channels)."""
    return output.movedim(_axis(module, output), -1).flatten(0, -2)

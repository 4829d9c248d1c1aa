"""Match statistics: give every channel the teacher's mean and variance, without labels.

Correcting means alone does harm, so both are corrected. Where a norm follows a layer, its scale and
shift take the correction; otherwise the layer's own rows (in codes: their scales) and bias do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from eckart.layers import (
    Carrying,
    Factored,
    FewBits,
    bias_of,
    exchanged,
    norm_width,
    refill,
    type_of,
    weights_of,
)
from eckart.running.batches import call, inputs_of
from eckart.running.hooks import amending, watching
from eckart.running.masks import Masks, masks_of
from eckart.running.progress import tracked
from eckart.stages.heal.channels import (
    Kept,
    along,
    by_row,
    channel_axis,
    is_what_is_left,
    kept_channels,
    last_piece,
)
from eckart.stages.heal.treatments import Case

_LEAST = 1e-2  # of the teacher's variance; a channel with less is shifted but not scaled
_FEW = 64  # with fewer rows the statistics of a batch are too noisy to correct it
_ROUNDS = 1  # passes after the first, which do not correct as they run


@dataclass
class Statistics:
    """Sums per channel, from which means and variances follow.

    Attributes:
        rows: number of values per channel so far.
        total, squares: sums of the values and of their squares, shape (channels,).
    """

    rows: int = 0
    total: Tensor | float = 0.0
    squares: Tensor | float = 0.0

    def add(self, values: Tensor) -> Statistics:
        """Add values of shape (rows, channels); returns the statistics of these values alone."""
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
    """The first pass corrects each batch as it runs, so later layers see corrected inputs.

    Attributes:
        name: name in the registry.
    """

    name: str = "correct"

    def needs(self, case: Case) -> str | None:
        """It needs a norm with statistics, or a layer with a bias, that the teacher has too."""
        return None if _sites(case) else "no batch norm and no bias to correct"

    @torch.no_grad()
    def treat(self, case: Case) -> None:
        """Run one pass that corrects as it runs, then plain passes."""
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
    sites: Mapping[str, Kept]
    amends: bool
    ours: dict[str, Statistics] = field(default_factory=dict)
    theirs: dict[str, Statistics] = field(default_factory=dict)
    _batch: dict[str, list[Statistics]] = field(default_factory=dict)
    _masks: Masks = ()

    def take(self, inputs: object) -> None:
        """Run the teacher, then the student, on one batch."""
        self._batch, self._masks = {}, masks_of(inputs)
        with amending(self._of(self.case.teacher), self._see_teacher):
            call(self.case.teacher, inputs)
        with amending(self._of(self.case.student), self._see_student):
            call(self.case.student, inputs)

    def correct(self) -> None:
        """Store the corrections in the student's scales and shifts."""
        for name, module in self._of(self.case.student).items():
            if name in self.ours:
                scale, shift = _affine(self.ours[name], self.theirs[name])
                _rescale(module, scale, shift)

    def _of(self, network: nn.Module) -> dict[str, nn.Module]:
        return {name: network.get_submodule(name) for name in self.sites}

    def _see_teacher(self, name: str, module: nn.Module, output: Tensor) -> None:
        rows = self.sites[name].of(by_row(module, output, self._masks), 1)
        fresh = self.theirs.setdefault(name, Statistics()).add(rows)
        self._batch.setdefault(name, []).append(fresh)

    def _see_student(self, name: str, module: nn.Module, output: Tensor) -> Tensor | None:
        fresh = self.ours.setdefault(name, Statistics()).add(by_row(module, output, self._masks))
        theirs = self._batch[name].pop(0)
        if not self.amends or fresh.rows < _FEW:
            return None
        scale, shift = _affine(fresh, theirs)
        axis = channel_axis(module, output)
        return output * along(scale, output, axis) + along(shift, output, axis)


def _affine(
    ours: Statistics, theirs: Statistics
) -> tuple[Float64[Tensor, " n"], Float64[Tensor, " n"]]:
    """The scale and shift that give our channels the teacher's means and variances."""
    (mean, variance), (wanted, spread) = ours.moments(), theirs.moments()
    constant = variance <= _LEAST * spread
    scale = torch.where(constant, 1.0, (spread / variance.clamp_min(1e-300)).sqrt())
    return scale, wanted - scale * mean


def _rescale(module: nn.Module, scale: Tensor, shift: Tensor) -> None:
    """Multiply a module's outputs by ``scale`` and add ``shift``, per channel."""
    *inner, last = weights_of(module)
    part, by_row = last_piece(module), scale.reshape(-1, *[1] * (last.dim() - 1))
    kind = type_of(part)
    piece = part.piece if isinstance(part, FewBits) else kind.piece(part) if kind else None
    scaled = (last if piece is None else exchanged(last, piece)) * by_row
    if piece is not None:
        scaled = exchanged(scaled, piece)
    refill(module, [*inner, scaled])
    bias = bias_of(part)
    if bias is not None:
        bias.copy_(bias * scale + shift)


def _sites(case: Case) -> dict[str, Kept]:
    """The modules to correct, with the teacher's channels that they still have."""
    known, normalised = dict(case.teacher.named_modules()), _normalised(case)
    found = {}
    for name, module in case.student.named_modules():
        if name in known and _correctable(module) and name not in normalised:
            kept = kept_channels(case.plan, case.teacher, name)
            if is_what_is_left(module, known[name], kept):
                found[name] = kept
    return found


def _correctable(module: nn.Module) -> bool:
    """Whether a module's outputs can be scaled and shifted, channel by channel."""
    last = last_piece(module)
    known = (
        type_of(last) is not None
        or norm_width(last) is not None
        or isinstance(last, Carrying | FewBits)
    )
    return known and bias_of(last) is not None and last.weight is not None


@torch.no_grad()
def _normalised(case: Case) -> set[str]:
    """Layers whose output goes into a norm: correcting the norm is enough."""
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

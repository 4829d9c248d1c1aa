"""A network in training: gradient steps, the schedule of their size, and the running average."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, inf, isfinite, pi
from typing import Any, final

import torch
from torch import Tensor, nn

from eckart.errors import InputError
from eckart.layers import FewBits
from eckart.running.batches import call, inputs_of
from eckart.stages.heal.distil.objectives import Objective

_FAR = 4.0  # times the loss at the start; above it the steps are too large
_NOTHING = 1e-3  # a loss below this, in nats or relative, means nothing
_SMOOTHING = 0.9  # share of the old value in the running loss that is compared with the start
_LEAST = 0.01  # least size of a tensor, so that biases that are zero can move


@dataclass(frozen=True)
class Recipe:
    """How to train: Adam, a linear warm-up, then a cosine to zero.

    Step sizes are relative to the tensors that they change, because factors differ in scale between
    layers and between networks. The warm-up keeps the first steps from undoing what least squares
    found. A running average of the weights is judged, so training can stop at any step.

    Attributes:
        rate: the largest step size, as a fraction of the root mean square of a tensor's entries;
            docs/results/healing.md shows the results of other rates.
        warm_up: share of the steps after which the largest step size is reached.
        clip: largest norm of a gradient; longer gradients are scaled down to it.
        averaged: share of the steps that the running average covers.

    Source: Kingma & Ba 2014 (1412.6980); relative steps: Shazeer & Stern 2018 (1804.04235),
    section 8; the cosine: Loshchilov & Hutter 2016 (1608.03983), equation 5; the average: Polyak &
    Juditsky 1992.
    """

    rate: float = 0.005
    warm_up: float = 0.05
    clip: float = 1.0
    averaged: float = 0.01

    def __post_init__(self) -> None:
        if not (0 < self.rate < inf and self.clip > 0 and 0 <= self.warm_up < 1):
            raise InputError(f"{self}: rate and clip are positive, warm_up is in [0, 1)")

    def rate_at(self, step: int, steps: int) -> float:
        """The step size of step ``step`` of ``steps``.

        Example:
            >>> [round(Recipe(rate=1.0, warm_up=0.5).rate_at(step, 4), 2) for step in range(4)]
            [0.5, 1.0, 1.0, 0.5]
        """
        warm = max(1, round(self.warm_up * steps))
        if step < warm:
            return self.rate * (step + 1) / warm
        return self.rate * 0.5 * (1 + cos(pi * (step - warm) / (steps - warm)))


@final
class Training:
    """Gradient steps on a copy of a network in eval mode, the mode in which it is judged and used.

    Where weights are in codes, the scales are trained through their own rounding; codes stay. Batch
    norms keep their statistics, while their scales and shifts are trained. Dropout is off, as it is
    in the teacher.

    Attributes:
        average: the network with the running average of the weights.
        step: number of steps made so far.
        steps: number of steps in total.
        losses: loss at the start and smoothed loss of the last steps; None before the first step.
    """

    def __init__(
        self, start: nn.Module, recipe: Recipe, steps: int, sizes: Sequence[float]
    ) -> None:
        """Begin at ``start``, with ``sizes`` from ``sizes_of``."""
        self.recipe, self.steps, self.step = recipe, steps, 0
        self.student, self.average = (free(copy.deepcopy(start).eval()) for _ in range(2))
        self.losses: tuple[float, float] | None = None
        self._parameters = [p for p in self.student.parameters() if p.requires_grad]
        groups = [{"params": [p], "size": s} for p, s in zip(self._parameters, sizes, strict=True)]
        self._optimiser = torch.optim.Adam(groups)

    def make_step(self, batch: Any, teacher: nn.Module, objective: Objective) -> bool:
        """Make one step; returns False if the loss is not finite or far above that of the start."""
        loss = objective(call(self.student, inputs_of(batch)), batch, teacher)
        self._optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._parameters, self.recipe.clip)
        if not isfinite(float(norm)) or self._is_far(float(loss.detach())):
            return False
        for group in self._optimiser.param_groups:
            group["lr"] = group["size"] * self.recipe.rate_at(self.step, self.steps)
        self._optimiser.step()
        self.step += 1
        self._update_average()
        return True

    def tensors(self) -> dict[str, Tensor]:
        """Everything needed to resume, by name, except ``step`` and ``losses``."""
        networks = {"student": self.student, "average": self.average}
        found = {f"{k}/{name}": t for k, net in networks.items() for name, t in weights(net)}
        for index, parameter in enumerate(self._parameters):
            for key, value in self._optimiser.state.get(parameter, {}).items():
                found[f"adam/{index}/{key}"] = value
        return found

    def like(self) -> dict[str, Tensor]:
        """For each tensor that ``tensors`` may return, one of the same shape and dtype."""
        found = self.tensors()
        for index, parameter in enumerate(self._parameters):
            found[f"adam/{index}/step"] = torch.zeros(())
            found |= {f"adam/{index}/{key}": parameter for key in ("exp_avg", "exp_avg_sq")}
        return found

    def restore(
        self, tensors: Mapping[str, Tensor], step: int, losses: tuple[float, float] | None
    ) -> None:
        """Resume from what ``tensors`` returned, with the step and the losses of that time."""
        self.step, self.losses = step, losses
        restore(self.student, tensors, "student")
        restore(self.average, tensors, "average")
        for index, parameter in enumerate(self._parameters):
            prefix = f"adam/{index}/"
            state = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
            if state:
                moved = {k: t if k == "step" else t.to(parameter.device) for k, t in state.items()}
                self._optimiser.state[parameter] = moved

    def _is_far(self, loss: float) -> bool:
        start, smooth = self.losses or (loss, loss)
        self.losses = (start, _SMOOTHING * smooth + (1 - _SMOOTHING) * loss)
        return not isfinite(loss) or self.losses[1] > _FAR * max(start, _NOTHING)

    @torch.no_grad()
    def _update_average(self) -> None:
        share = 1 / max(1.0, self.recipe.averaged * self.steps)
        pairs = zip(weights(self.average), weights(self.student), strict=True)
        for (_, mine), (_, new) in pairs:
            if mine.is_floating_point():
                mine.lerp_(new, share)
            else:
                mine.copy_(new)


def free(network: nn.Module) -> nn.Module:
    """The network with the scales of its codes as parameters, where weights were to be trained."""
    for layer in in_codes(network):
        layer.free_scales()
    return network


def stored(network: nn.Module) -> nn.Module:
    """A copy with the scales as they are stored, from a network that ``free`` made."""
    copied = copy.deepcopy(network)
    for layer in in_codes(copied):
        layer.store_scales()
    return copied


def in_codes(network: nn.Module) -> list[FewBits]:
    """The layers in codes that are trained."""
    return [m for m in network.modules() if isinstance(m, FewBits) and m.trainable]


def sizes_of(network: nn.Module) -> list[float]:
    """Root mean square of the entries of each trained tensor, but at least a hundredth.

    Scales of codes are never zero, and may be smaller.
    """
    freed = free(copy.deepcopy(network))
    scales = {id(layer.scale) for layer in in_codes(freed)}
    trained = [(p, 0.0 if id(p) in scales else _LEAST) for p in freed.parameters()]
    return [
        max(least, float(p.detach().double().square().mean().sqrt()))
        for p, least in trained
        if p.requires_grad
    ]


def weights(network: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and buffers, also those that ``state_dict`` leaves out, each tensor once."""
    return [*network.named_parameters(), *network.named_buffers()]


@torch.no_grad()
def restore(network: nn.Module, tensors: Mapping[str, Tensor], part: str) -> nn.Module:
    """Fill a network with the tensors of one part of a file."""
    for name, tensor in weights(network):
        tensor.copy_(tensors[f"{part}/{name}"])
    return network

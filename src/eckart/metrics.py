"""Output metrics: what counts as a change of the network's output.

A metric is a probe: a function of the outputs whose gradient there is one random sample, so that
``E[g gᵀ]`` is the matrix that output changes are measured in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from eckart.errors import InputError


@runtime_checkable
class Probe(Protocol):
    """``probe(outputs, batch, generator) -> scalar``, a sum over the batch, never a mean.

    ``batch`` is what the loader gave: inputs, or (inputs, targets). ``generator`` lives on the
    CPU; draw from it there, so that the same seed gives the same probes on every device.
    """

    def __call__(self, outputs: Any, batch: Any, generator: torch.Generator) -> Tensor:
        """One random scalar to differentiate."""


def logits_of(outputs: Any) -> Tensor:
    """The tensor of logits in a network's output: itself, ``["logits"]``, ``.logits``, or first.

    Raises:
        InputError: there is none.
    """
    if isinstance(outputs, Tensor):
        return outputs
    named = outputs.get("logits") if isinstance(outputs, Mapping) else None
    named = getattr(outputs, "logits", None) if named is None else named
    if isinstance(named, Tensor):
        return named
    if isinstance(outputs, tuple | list) and outputs and isinstance(outputs[0], Tensor):
        return outputs[0]
    raise InputError(
        f"found no logits in an output of type {type(outputs).__name__}: return a tensor, a dict "
        "or an object with 'logits', or pass metric= a probe(outputs, batch, generator) of your own"
    )


@dataclass(frozen=True)
class Logits:
    """Squared change of the logits: ``G = E[Jᵀ J]``, without labels.

    Attributes:
        class_dim: axis of the classes; None is 1 for (n, classes) and (n, classes, h, w), and
            the last for (n, tokens, classes).
        centred: remove the mean over the classes, which a softmax does not see. A single
            output per example, (n, 1) or (n,), is never centred.
        signs: draw ±1 in place of Gaussian numbers.

    Source: Gauss–Newton matrix by random projections (Hutchinson 1990).
    """

    class_dim: int | None = None
    centred: bool = True
    signs: bool = False

    def __call__(self, outputs: Any, batch: Any, generator: torch.Generator) -> Tensor:
        """``Σ v · logits``."""
        logits = logits_of(outputs)
        v = torch.randn(logits.shape, generator=generator)
        v = v.sign() if self.signs else v
        dim = class_axis(logits, self.class_dim)
        if self.centred and dim is not None:
            v = v - v.mean(dim, keepdim=True)
        return (logits * v.to(logits)).sum()


@dataclass(frozen=True)
class Fisher:
    """Cross entropy of the softmax: ``G`` is the Fisher matrix, in nats.

    Attributes:
        temperature: logits are divided by it; above 1 it flattens confident predictions.
        targets: ``"sampled"`` from the model, the true Fisher, or ``"true"`` ones of the batch,
            the empirical Fisher.
        class_dim: as in ``Logits``.
    """

    temperature: float = 1.0
    targets: Literal["sampled", "true"] = "sampled"
    class_dim: int | None = None

    def __post_init__(self) -> None:
        if not self.temperature > 0 or self.targets not in ("sampled", "true"):
            raise InputError(
                f"Fisher(temperature={self.temperature}, targets={self.targets!r}): the "
                "temperature is positive, the targets are 'sampled' or 'true'"
            )

    def __call__(self, outputs: Any, batch: Any, generator: torch.Generator) -> Tensor:
        """Summed cross entropy."""
        logits = logits_of(outputs)
        dim = class_axis(logits, self.class_dim)
        if dim is None:
            raise InputError(
                f"the Fisher metric needs two classes or more, got outputs {tuple(logits.shape)}: "
                "use metric='logits', or name class_dim"
            )
        scores = logits.movedim(dim, -1).flatten(0, -2).float() / self.temperature
        if self.targets == "true":
            if not (isinstance(batch, tuple | list) and len(batch) == 2):
                raise InputError("Fisher(targets='true') needs batches of (inputs, targets)")
            return F.cross_entropy(scores, batch[1].to(scores.device).flatten(), reduction="sum")
        chances = scores.detach().softmax(-1).cpu()
        drawn = torch.multinomial(chances, 1, generator=generator).squeeze(-1)
        return F.cross_entropy(scores, drawn.to(scores.device), reduction="sum")


METRICS: dict[str, Callable[[], Probe]] = {"logits": Logits, "fisher": Fisher}


def register_metric(name: str, make: Callable[[], Probe]) -> None:
    """Make an output metric known by name."""
    METRICS[name] = make


def probe_of(metric: str | Probe) -> Probe:
    """The probe of that name, or the probe itself."""
    if not isinstance(metric, str):
        return metric
    if metric not in METRICS:
        known = ", ".join(sorted(METRICS))
        raise InputError(f"unknown metric {metric!r}; known: {known}, None, or a probe of your own")
    return METRICS[metric]()


def class_axis(logits: Tensor, given: int | None = None) -> int | None:
    """The axis of the classes; None for a single output per example.

    Args:
        logits: any shape.
        given: the axis, if it is known; else 1, and the last for (n, tokens, classes).
    """
    if given is None and logits.dim() < 2:
        return None
    dim = given if given is not None else -1 if logits.dim() == 3 else 1
    if not -logits.dim() <= dim < logits.dim():
        raise InputError(f"class_dim={dim}: the outputs have the shape {tuple(logits.shape)}")
    return dim if logits.shape[dim] > 1 else None

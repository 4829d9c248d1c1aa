"""Metrics of outputs and logits: their squared change, and the cross entropy of their softmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from eckart.errors import InputError
from eckart.metrics.probes import named
from eckart.running.batches import inputs_of
from eckart.running.masks import masks_of, real_rows

_ROWS = 256  # rows of logits whose log-probabilities are held at once
IGNORED = -100  # the target that is not counted, as in torch and transformers


def logits_of(outputs: Any) -> Tensor:
    """The tensor of logits in a network's output.

    It is the output itself, its ``["logits"]`` or ``.logits``, or its first element.

    Raises:
        InputError: the output holds no such tensor.
    """
    if isinstance(outputs, Tensor):
        return outputs
    logits = named(outputs, "logits")
    if logits is not None:
        return logits
    if isinstance(outputs, tuple | list) and outputs and isinstance(outputs[0], Tensor):
        return outputs[0]
    raise InputError(
        f"found no logits in an output of type {type(outputs).__name__}: return a tensor, a dict "
        "or an object with 'logits', or pass metric= a probe(outputs, batch, generator) of your own"
    )


@dataclass(frozen=True)
class Logits:
    """Squared change of the outputs: ``G = E[Jᵀ J]``, without labels.

    Attributes:
        class_dim: the axis of the classes if a softmax follows. The mean over it is then removed,
            because the softmax ignores it. None removes nothing, which is right for regression,
            boxes, images and sigmoids, and just as good for classifiers.

    Source: Gauss–Newton matrix by random projections (Hutchinson 1990).
    """

    class_dim: int | None = None

    def __call__(self, outputs: Any, batch: Any, generator: torch.Generator) -> Tensor:
        """``Σ v · logits`` over tokens that are not padding."""
        logits = logits_of(outputs)
        v = self._seen_by_softmax(torch.randn(logits.shape, generator=generator))
        return (logits * without_padding(v, batch).to(logits)).sum()

    def observed(self, outputs: Any, batch: Any) -> Tensor:
        """The logits."""
        return logits_of(outputs)

    def change(self, found: Tensor, outputs: Any, batch: Any) -> float:
        """Half the squared change of the logits, without the part that a softmax ignores."""
        logits = logits_of(outputs)
        return half_square(self._seen_by_softmax(found.double() - logits.double()), batch)

    def _seen_by_softmax(self, values: Tensor) -> Tensor:
        """The values minus their mean over the classes; unchanged if ``class_dim`` is None."""
        dim = None if self.class_dim is None else class_axis(values, self.class_dim)
        return values if dim is None else values - values.mean(dim, keepdim=True)


@dataclass(frozen=True)
class Fisher:
    """Cross entropy of the softmax: ``G`` is the Fisher matrix, in nats.

    Attributes:
        temperature: logits are divided by it; a value above 1 flattens confident predictions.
        targets: ``"sampled"`` draws targets from the model (the true Fisher); ``"true"`` takes
            those of the batch (the empirical Fisher).
        class_dim: axis of the classes; None means axis 1 for (n, classes) and (n, classes, h, w),
            and the last axis for (n, tokens, classes).
    """

    temperature: float = 1.0
    targets: Literal["sampled", "true"] = "sampled"
    class_dim: int | None = None

    def __post_init__(self) -> None:
        if not self.temperature > 0 or self.targets not in ("sampled", "true"):
            raise InputError(
                f"Fisher(temperature={self.temperature}, targets={self.targets!r}): the "
                "temperature must be positive and the targets 'sampled' or 'true'"
            )

    def __call__(self, outputs: Any, batch: Any, generator: torch.Generator) -> Tensor:
        """Cross entropy, summed over everything that is not padding."""
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
            targets = batch[1].flatten()
        else:
            chances = scores.detach().softmax(-1).cpu()
            targets = torch.multinomial(chances, 1, generator=generator).squeeze(-1)
        real = real_vectors(logits, batch)
        if real is not None:
            targets = targets.where(real.to(targets.device), IGNORED)
        return F.cross_entropy(
            scores, targets.to(scores.device), reduction="sum", ignore_index=IGNORED
        )

    def observed(self, outputs: Any, batch: Any) -> Tensor:
        """The logits."""
        return logits_of(outputs)

    def change(self, found: Tensor, outputs: Any, batch: Any) -> float:
        """Kullback–Leibler divergence from the original network, in nats."""
        logits = logits_of(outputs)
        dim = class_axis(logits, self.class_dim)
        if dim is None:
            return 0.0
        before, after = (
            t.movedim(dim, -1).flatten(0, -2) / self.temperature for t in (logits, found)
        )
        real = real_vectors(logits, batch)
        return divergence(before, after, None if real is None else real.to(before.device))


def class_axis(logits: Tensor, given: int | None = None) -> int | None:
    """The axis of the classes; None for a single output per example.

    Args:
        logits: any shape.
        given: the axis if it is known; otherwise axis 1, or the last for (n, tokens, classes).
    """
    if given is None and logits.dim() < 2:
        return None
    dim = given if given is not None else -1 if logits.dim() == 3 else 1
    if not -logits.dim() <= dim < logits.dim():
        raise InputError(f"class_dim={dim}: the outputs have shape {tuple(logits.shape)}")
    return dim if logits.shape[dim] > 1 else None


def divergence(before: Tensor, after: Tensor, rows: Tensor | None = None) -> float:
    """``Σ KL(softmax before ‖ softmax after)`` over the chosen rows of logits, in float64.

    It takes a few rows at a time to save memory.
    """
    total = 0.0
    for start in range(0, len(before), _ROWS):
        at = slice(start, start + _ROWS)
        left, right = (t[at].double().log_softmax(-1) for t in (before, after))
        each = (left.exp() * (left - right)).sum(-1)
        total += float((each if rows is None else each[rows[at]]).sum())
    return total


def real_vectors(outputs: Tensor, batch: Any) -> Tensor | None:
    """Which vectors along the last axis belong to real tokens; None where all do."""
    return real_rows(masks_of(inputs_of(batch)), outputs.shape[:-1])


def without_padding(values: Tensor, batch: Any) -> Tensor:
    """Values of the shape of an output, zero along its last axis where a token is padding."""
    real = real_vectors(values, batch)
    return values if real is None else values * real.to(values).reshape(*values.shape[:-1], 1)


def half_square(change: Tensor, batch: Any) -> float:
    """Half the squared change of an output, without padding."""
    real = real_vectors(change, batch)
    change = change if real is None else change.flatten(0, -2)[real.to(change.device)]
    return 0.5 * float(change.square().sum())

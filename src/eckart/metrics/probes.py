"""What an output metric must do, and the table of those that are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eckart.errors import InputError
from eckart.records.offer import AUTO
from eckart.running.batches import examples_in, inputs_of


@runtime_checkable
class Probe(Protocol):
    """``probe(outputs, batch, generator)``: a sum over the batch, never a mean.

    ``batch`` is what the loader gave: inputs, or (inputs, targets). ``generator`` lives on the
    CPU; draw from it there, so that the same seed gives the same probes on every device.

    A probe may also have ``count(batch, outputs) -> int``: what ``N`` grows by for a batch. Without
    it that is the number of examples.

    And it may have ``joint = True``: the rows of one example, the tokens of a sentence, say, act on
    one and the same output, where their errors add up. Then the moments are those of the gradient
    that each example gives a layer's weight, see ``eckart.linalg.gradient_grams``.
    """

    def __call__(
        self, outputs: Any, batch: Any, generator: torch.Generator
    ) -> Float[Tensor, "*samples"]:
        """One random scalar to differentiate, or a vector of several, whose grams are averaged."""


@runtime_checkable
class Measurable(Probe, Protocol):
    """A probe whose quadratic form can be held against what really changes."""

    def observed(self, outputs: Any, batch: Any) -> Tensor:
        """What is compared; its first axis is the examples."""

    def change(self, found: Tensor, outputs: Any, batch: Any) -> float:
        """What ``½ tr(G ΔW A ΔWᵀ)`` predicts to second order, times ``N``.

        Args:
            found: ``observed`` of the changed network.
            outputs: of the network as it was.
            batch: what both were given.
        """


METRICS: dict[str, Callable[[], Probe]] = {}


def register_metric(name: str, make: Callable[[], Probe]) -> None:
    """Make an output metric known by name."""
    METRICS[name] = make


def probe_of(metric: str | Probe) -> Probe:
    """The probe of that name, or the probe itself."""
    if not isinstance(metric, str):
        return metric
    if metric not in METRICS:
        known = ", ".join([AUTO, *sorted(METRICS)])
        raise InputError(f"unknown metric {metric!r}; known: {known}, None, or a probe of your own")
    return METRICS[metric]()


def fitting_metric(model: nn.Module, outputs: Any) -> str:
    """What ``"auto"`` stands for.

    ``"next_token"`` for a network that can generate, but for encoders with a decoder;
    ``"similarity"`` for outputs with hidden states and no logits; ``"logits"`` for all else.
    """
    can_generate = getattr(model, "can_generate", None)
    config = getattr(model, "config", None)
    if callable(can_generate) and can_generate():
        return "logits" if getattr(config, "is_encoder_decoder", False) else "next_token"
    if named(outputs, "last_hidden_state") is not None and named(outputs, "logits") is None:
        return "similarity"
    return "logits"


def name_of(metric: str | Probe | None) -> str | None:
    """A name that is the same in the next process: no address in it."""
    if metric is None or isinstance(metric, str):
        return metric
    named = metric if hasattr(metric, "__qualname__") else type(metric)
    plain = named is metric or type(metric).__repr__ is object.__repr__
    return f"{named.__module__}.{named.__qualname__}" if plain else repr(metric)


def count_of(probe: Probe | None, batch: Any, outputs: Any) -> int:
    """What ``N`` grows by for a batch: predicted tokens, say, or examples."""
    count = getattr(probe, "count", None)
    return examples_in(inputs_of(batch)) if count is None else int(count(batch, outputs))


def is_joint(probe: Probe | None) -> bool:
    """Whether the rows of one example are taken jointly."""
    return bool(getattr(probe, "joint", False))


def named(outputs: Any, name: str) -> Tensor | None:
    """A tensor of that name among the outputs, as a key or an attribute."""
    found = outputs.get(name) if isinstance(outputs, Mapping) else None
    found = getattr(outputs, name, None) if found is None else found
    return found if isinstance(found, Tensor) else None

"""What an output metric must provide, and the table of the registered ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eckart.errors import InputError
from eckart.records.offer import AUTO
from eckart.running.arguments import check_kind
from eckart.running.batches import examples_in, inputs_of


@runtime_checkable
class Probe(Protocol):
    """``probe(outputs, batch, generator)``: a sum over the batch, never a mean.

    ``batch`` is what the loader gave: inputs, or (inputs, targets). ``generator`` lives on the
    CPU; draw from it there, so that the same seed gives the same probes on every device.

    A probe may have ``count(batch, outputs) -> int``, which says by how much a batch increases
    ``N``. Without it, ``N`` increases by the number of examples.

    A probe may also have ``joint = True``. It says that all rows of one example, such as the tokens
    of a sentence, act on the same output, where their errors add up. The moments are then those of
    the gradient of a layer's weight per example; see ``eckart.linalg.gradient_grams``.
    """

    def __call__(
        self, outputs: Any, batch: Any, generator: torch.Generator
    ) -> Float[Tensor, "*samples"]:
        """A random scalar to differentiate, or a vector of several, whose grams are averaged."""


@runtime_checkable
class Measurable(Probe, Protocol):
    """A probe whose predicted change can be compared with the real one."""

    def observed(self, outputs: Any, batch: Any) -> Tensor:
        """The tensor that is compared; its first axis is the examples."""

    def change(self, found: Tensor, outputs: Any, batch: Any) -> float:
        """The real change that ``½ tr(G ΔW A ΔWᵀ)`` predicts to second order, times ``N``.

        Args:
            found: ``observed`` of the changed network.
            outputs: outputs of the original network.
            batch: the batch that both networks were run on.
        """


METRICS: dict[str, Callable[[], Probe]] = {}


def register_metric(name: str, make: Callable[[], Probe]) -> None:
    """Register an output metric under a name."""
    METRICS[name] = make


def probe_of(metric: str | Probe) -> Probe:
    """The probe registered under a name; a probe is returned unchanged."""
    if not isinstance(metric, str):
        check_kind("metric", metric, Callable)
        return metric
    if metric not in METRICS:
        known = ", ".join([AUTO, *sorted(METRICS)])
        raise InputError(f"unknown metric {metric!r}; known: {known}, None, or a probe of your own")
    return METRICS[metric]()


def fitting_metric(model: nn.Module, outputs: Any, inputs: Any) -> str:
    """The metric that ``"auto"`` stands for.

    ``"next_token"`` for a network that can generate text, or ``"logits"`` if it is an
    encoder–decoder model, or if there are logits for more than the tokens, such as for the patches
    of an image; ``"similarity"`` for outputs with hidden states but no logits; ``"outputs"`` for
    everything else.
    """
    can_generate = getattr(model, "can_generate", None)
    config = getattr(model, "config", None)
    if callable(can_generate) and can_generate():
        apart = getattr(config, "is_encoder_decoder", False) or _beyond_tokens(outputs, inputs)
        return "logits" if apart else "next_token"
    if named(outputs, "last_hidden_state") is not None and named(outputs, "logits") is None:
        return "similarity"
    return "outputs"


def _beyond_tokens(outputs: Any, inputs: Any) -> bool:
    """Whether there are logits for more positions than there are tokens."""
    logits, ids = named(outputs, "logits"), named(inputs, "input_ids")
    if logits is None or ids is None or logits.dim() != 3 or ids.dim() != 2:
        return False
    return logits.shape[1] > ids.shape[1]


def name_of(metric: str | Probe | None) -> str | None:
    """A name that is the same in every process: it contains no memory address."""
    if metric is None or isinstance(metric, str):
        return metric
    named = metric if hasattr(metric, "__qualname__") else type(metric)
    plain = named is metric or type(metric).__repr__ is object.__repr__
    return f"{named.__module__}.{named.__qualname__}" if plain else repr(metric)


def count_of(probe: Probe | None, batch: Any, outputs: Any) -> int:
    """By how much a batch increases ``N``: the number of examples, predicted tokens or the like."""
    count = getattr(probe, "count", None)
    return examples_in(inputs_of(batch)) if count is None else int(count(batch, outputs))


def is_joint(probe: Probe | None) -> bool:
    """Whether the rows of one example are taken jointly."""
    return bool(getattr(probe, "joint", False))


def named(outputs: Any, name: str) -> Tensor | None:
    """The tensor with this name in the outputs, as a key or an attribute."""
    found = outputs.get(name) if isinstance(outputs, Mapping) else None
    found = getattr(outputs, name, None) if found is None else found
    return found if isinstance(found, Tensor) else None

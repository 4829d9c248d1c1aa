"""Measure what a network costs and how well it does."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from eckart.network.costs import network_costs
from eckart.network.smallest import smallest_that_runs
from eckart.network.wrappers import unwrapped
from eckart.records import Measurement, Score
from eckart.running.batches import as_arguments, call, examples_in, moved
from eckart.running.hooks import untouched
from eckart.scores import Evaluate

if TYPE_CHECKING:
    from torch.utils.benchmark import Measurement as Timing

_WARMUP_RUNS = 3


def measure(
    model: nn.Module,
    example_inputs: Any,
    *,
    evaluate: Evaluate | None = None,
    latency: bool = True,
    seconds: float = 0.5,
) -> Measurement:
    """Count parameters, multiply-adds and bytes, time the forward pass, and score the network.

    Args:
        model: any network. Costs of one inside ``torch.compile`` or ``DataParallel`` are those of
            the network inside; it is timed and scored as it is given.
        example_inputs: a batch of inputs. Latency is measured on all of it; multiply-adds are
            counted for its first example, or for all where the network does not run on one.
        evaluate: ``evaluate(model)`` returns a ``Score``, or a number where higher is better.
        latency: whether to time the forward pass: median and interquartile range after a warm-up,
            with the number of threads that torch is set to.
        seconds: minimum time to spend on timing.

    Raises:
        InputError: the inputs have no batch axis, or the score is not finite.
    """
    inside = unwrapped(model)
    inputs = as_arguments(inside, example_inputs)
    example, _ = smallest_that_runs(inside, moved(inputs, inside))
    costs = network_costs(inside, example)
    timing = _timed(model, inputs, seconds) if latency else None
    return Measurement(
        params=costs.params,
        macs=costs.macs,
        bytes=costs.bytes,
        latency_ms=None if timing is None else timing.median * 1e3,
        latency_spread_ms=None if timing is None else timing.iqr * 1e3,
        batch=examples_in(inputs),
        layer_macs=costs.layer_macs,
        score=None if evaluate is None else Score.of(evaluate(model)),
    )


def _fastest_mode(model: nn.Module, inputs: Any) -> AbstractContextManager[None]:
    """Inference mode; without gradients where the network does not run in it."""
    try:
        with torch.inference_mode():
            call(model, inputs)
    except RuntimeError:  # it differentiates inside its forward pass
        return torch.no_grad()
    return torch.inference_mode()


def _timed(model: nn.Module, inputs: Any, seconds: float) -> Timing:
    from torch.utils.benchmark import Timer  # slow to import, and only needed here

    inputs = moved(inputs, model)
    with untouched(model), _fastest_mode(model, inputs):
        for _ in range(_WARMUP_RUNS):
            call(model, inputs)
        timer = Timer(
            "call(model, inputs)",
            globals={"call": call, "model": model, "inputs": inputs},
            num_threads=torch.get_num_threads(),
        )
        return timer.blocked_autorange(min_run_time=seconds)

"""Measure what a network costs and how well it does."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from types import NoneType
from typing import Any

import torch
from torch import nn

from eckart.network.costs import network_costs
from eckart.network.smallest import smallest_that_runs
from eckart.network.wrappers import unwrapped
from eckart.records import Measurement, Score
from eckart.running.arguments import check_kind
from eckart.running.batches import as_arguments, examples_in, moved
from eckart.running.hooks import untouched
from eckart.runtimes import Runtime, Times, clock_of, interleaved, runtime_named
from eckart.scores import Evaluate

_ROUNDS = 5


def measure(
    model: nn.Module,
    example_inputs: Any,
    *,
    evaluate: Evaluate | None = None,
    latency: bool = True,
    seconds: float = 0.5,
    runtime: str = "eager",
    threads: int | None = None,
) -> Measurement:
    """Count parameters, multiply-adds and bytes, time the forward pass, and score the network.

    Args:
        model: any network. Costs of one inside ``torch.compile`` or ``DataParallel`` are those of
            the network inside; it is timed and scored as it is given.
        example_inputs: a batch of inputs. Latency is measured on all of it; multiply-adds are
            counted for its first example, or for all where the network does not run on one.
        evaluate: ``evaluate(model)`` returns a ``Score``, or a number where higher is better.
        latency: whether to time the forward pass: median and interquartile range after a warm-up.
        seconds: minimum time to spend on timing.
        runtime: where to time it: ``"eager"``, ``"compile"``, ``"onnxruntime"``, ``"openvino"`` or
            one of your own.
        threads: of the runtime; None is the number that torch is set to. With one thread on a CPU,
            only the time of this process counts, so other work on the machine disturbs little.

    Raises:
        InputError: the runtime is unknown or not installed, the inputs have no batch axis, the
            score is not finite, or an argument is of the wrong kind.
    """
    check_kind("seconds", seconds, Real)
    check_kind("threads", threads, Integral, NoneType)
    check_kind("evaluate", evaluate, Callable, NoneType)
    on, inside = runtime_named(runtime), unwrapped(model)
    inputs = as_arguments(inside, example_inputs)
    example, _ = smallest_that_runs(inside, moved(inputs, inside))
    costs = network_costs(inside, example)
    threads = threads or torch.get_num_threads()
    times = _timed(model, inputs, on, threads, seconds) if latency else None
    return Measurement(
        params=costs.params,
        macs=costs.macs,
        bytes=costs.bytes,
        latency_ms=None if times is None else times.median,
        latency_spread_ms=None if times is None else times.spread,
        batch=examples_in(inputs),
        runtime=runtime,
        threads=threads,
        layer_macs=costs.layer_macs,
        score=None if evaluate is None else Score.of(evaluate(model)),
    )


def _timed(model: nn.Module, inputs: Any, on: Runtime, threads: int, seconds: float) -> Times:
    """The times of forward passes."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    clock = on.clock or clock_of(threads, device)
    with untouched(model):
        run = (on.as_given or on.prepare)(model, inputs, threads)
        return interleaved([run], _ROUNDS, clock, seconds)[0]

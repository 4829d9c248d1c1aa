"""``eckart inspect --plan-run``: what a run on a large model takes, before it is downloaded."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from eckart.cli.options.forecasting import ForecastOptions
from eckart.cli.options.parsing import usage_error
from eckart.cli.options.shared import ModelOptions
from eckart.cli.shown.output import Result
from eckart.cli.shown.tables import make_table
from eckart.cli.sources.hub_models import Dtype, HubModel
from eckart.errors import InputError
from eckart.report.formats import short_count

if TYPE_CHECKING:
    from rich.table import Table

    from eckart.pipeline.forecast import Forecast, Machines, Work

_LENGTH = 128  # tokens of the sequence that tells the shapes


def planned_run(model: ModelOptions, given: ForecastOptions) -> Result:
    """What a run on the model takes.

    Raises:
        InputError: the model does not run without weights.
    """
    hub = HubModel.named(model.model)
    if hub is None:
        raise usage_error("--plan-run", "is for models of transformers: hf: and a configuration")

    import torch  # here, because it takes a while

    from eckart.pipeline.forecast import forecast, work_of

    network = hub.outline(model.dtype or Dtype.bfloat16)
    try:
        work = work_of(network, {"input_ids": torch.zeros(1, _LENGTH, dtype=torch.int64)})
    except (RuntimeError, NotImplementedError, TypeError) as error:
        raise InputError(
            f"{model.model} does not run without weights, so nothing is known of what its layers "
            f"read ({type(error).__name__}: {error!s:.200})"
        ) from error
    found = forecast(work, given.machines, given.tokens)
    document = {"model": model.model, "tokens": given.tokens, **asdict(work), **asdict(found)}
    document["machines"] = asdict(given.machines)
    return Result(document, [*_tables(work, found, given), _said(found, given.machines)])


def _tables(work: Work, found: Forecast, given: ForecastOptions) -> list[Table]:
    tokens = given.tokens
    computed = [
        ("forward and backward", tokens * work.network_flops * found.passes, found.network_hours),
        ("sums of moments", tokens * work.moment_flops, found.moment_hours),
        ("decompositions", work.decomposition_flops, found.decomposition_hours),
    ]
    kept = [
        ("weights", work.weight_bytes),
        ("moments", work.moment_bytes),
        ("decompositions", work.factor_bytes),
    ]
    numbers = {"work": False, "FLOPs": True, "hours": True}
    return [
        make_table(
            f"{short_count(work.params)} parameters, {work.layers} layers that read {work.inputs} "
            f"tensors; {tokens:,} tokens",
            numbers,
            [(name, f"{flops:.2e}", f"{hours:.2g}") for name, flops, hours in computed],
        ),
        make_table(
            "Kept",
            {"what": False, "GB": True},
            [(name, f"{size / 1e9:,.1f}") for name, size in kept],
        ),
    ]


def _said(found: Forecast, machines: Machines) -> str:
    """Whether it fits, and what the hours rest on."""
    if found.passes == 0:
        return (
            f"The network needs {found.gpus_for_weights} GPUs of {machines.memory_bytes / 1e9:g} "
            f"GB, and there are {machines.gpus}: give more, or larger ones."
        )
    return (
        f"{found.gpus_for_weights} GPUs hold the network; the sums take {found.passes} passes. The "
        f"hours are for {machines.gpus} GPUs at {machines.flops_per_second:.1e} FLOPs per second "
        f"each, {machines.products:g} of that in float32 and {machines.decompositions:g} in "
        "float64: assumed, not measured."
    )

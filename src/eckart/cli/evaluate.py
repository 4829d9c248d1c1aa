"""``eckart evaluate``: what a network costs, and how well it does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eckart import accuracy, load, measure
from eckart.cli.grouping import grouped
from eckart.cli.options import EvaluationOptions, ImageOptions, ModelOptions, RunOptions
from eckart.cli.output import Result
from eckart.cli.tables import measurement_table


@grouped
def evaluate_command(
    model: ModelOptions,
    images: ImageOptions,
    evaluation: EvaluationOptions,
    run: RunOptions,
    *,
    compressed: Annotated[
        Path | None,
        typer.Option(help="Folder that compress wrote; MODEL is what it was made from."),
    ] = None,
    latency: Annotated[bool, typer.Option(help="Time one example.")] = True,
) -> Result:
    """Measure accuracy, parameters, multiply-adds, bytes and latency of a network."""
    batches = evaluation.take(images.open())
    network = model.load(filled_later=compressed is not None)
    if compressed is not None:
        network = load(network, compressed)
    inputs = next(iter(batches))[0][:1]
    found = measure(network, inputs, evaluate=accuracy(batches), latency=latency)
    document = {
        "model": model.model,
        "compressed": None if compressed is None else str(compressed),
        **found.as_json(),
    }
    return Result(document, [measurement_table(model.model, found)])

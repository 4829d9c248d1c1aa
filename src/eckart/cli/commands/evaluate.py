"""``eckart evaluate``: what a network costs, and how well it does."""

from __future__ import annotations

import copy
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

import eckart
from eckart.cli.names import STRUCTURE
from eckart.cli.options.grouping import grouped
from eckart.cli.options.parsing import usage_error
from eckart.cli.options.shared import (
    EvaluationOptions,
    Examples,
    ImageOptions,
    ModelOptions,
    RunOptions,
    TextOptions,
    judge,
)
from eckart.cli.options.tasks import TaskOptions
from eckart.cli.shown.output import Result
from eckart.cli.shown.tables import make_table, measurement_table
from eckart.cli.sources.text_data import Windows
from eckart.errors import InputError
from eckart.report.formats import significant

if TYPE_CHECKING:
    from torch import nn

    from eckart.records import Measurement, Score


@grouped
def evaluate_command(
    model: ModelOptions,
    images: ImageOptions,
    text: TextOptions,
    evaluation: EvaluationOptions,
    tasks: TaskOptions,
    run: RunOptions,
    *,
    compressed: Annotated[
        Path | None,
        typer.Option(help="Folder that compress wrote; MODEL is what it was made from."),
    ] = None,
    latency: Annotated[bool, typer.Option(help="Time one example.")] = True,
) -> Result:
    """Measure accuracy or perplexity, parameters, multiply-adds, bytes and latency of a network.

    With --tasks, measure only how many questions a language model answers.
    """
    model.check()
    _check_saved(compressed)
    if tasks.is_given:
        return _of_tasks(model, text, tasks, run, compressed)
    batches = evaluation.take(images.open(text, model))
    from eckart.running.batches import first_examples, inputs_of  # brings torch

    run.start()
    network = model.load(filled_later=compressed is not None)
    if compressed is not None:
        network = eckart.load(network, compressed)
    inputs = first_examples(inputs_of(next(iter(batches))))
    evaluate, seconds = judge(batches), 0.0

    def timed(network: nn.Module) -> Score | float:
        nonlocal seconds
        start = perf_counter()
        score = evaluate(_with_weights(network))
        seconds = perf_counter() - start
        return score

    found = eckart.measure(network, inputs, evaluate=timed, latency=latency)
    spoken = _of_text(batches, found, seconds)
    document = {
        "model": model.model,
        "compressed": None if compressed is None else str(compressed),
        **found.as_json(),
        **spoken,
    }
    rows = [(n, f"{v:,}" if isinstance(v, int) else significant(v, 4)) for n, v in spoken.items()]
    words = [make_table("Text", {"": False, "measured": True}, rows)] if rows else []
    return Result(document, [measurement_table(model.model, found), *words])


def _of_tasks(
    model: ModelOptions,
    text: TextOptions,
    tasks: TaskOptions,
    run: RunOptions,
    compressed: Path | None,
) -> Result:
    """What it answers; nothing else is measured."""
    if text.is_given:
        raise usage_error("--tasks / --perplexity", "measure one after the other")
    tasks.files()
    run.start()
    network = model.load(filled_later=compressed is not None)
    if compressed is not None:
        network = eckart.load(network, compressed)
    return tasks.measured(model, _with_weights(network))


def _with_weights(network: nn.Module) -> nn.Module:
    """The same network with codes made into weights, once and not at each batch."""
    from eckart.checkpoint.merging import dequantized  # brings torch

    return dequantized(copy.deepcopy(network))


def _check_saved(compressed: Path | None) -> None:
    if compressed is not None and not (compressed / STRUCTURE).is_file():
        raise InputError(f"{compressed} has no {STRUCTURE}: name a folder that compress wrote")


def _of_text(batches: Examples, found: Measurement, seconds: float) -> dict[str, Any]:
    """What there is to say of text alone."""
    if not isinstance(batches, Windows) or found.score is None:
        return {}
    return {
        "perplexity": found.score.value,
        "tokens": found.score.n,
        "tokens_per_second": batches.tokens / seconds,
    }

"""``eckart frontier``: accuracy against cost at many fractions kept, as table, JSON and page."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from eckart import Frontier, accuracy, curves, frontier
from eckart.cli.entry import Interrupted
from eckart.cli.grouping import grouped
from eckart.cli.options import (
    CalibrationOptions,
    EvaluationOptions,
    ImageOptions,
    ModelOptions,
    OptionOptions,
    RunOptions,
)
from eckart.cli.output import Result, say
from eckart.cli.parsing import parse_fractions, usage_error
from eckart.costs import COSTS
from eckart.records.plans import Scope
from eckart.report import frontier_table, write_report


@grouped
def frontier_command(
    model: ModelOptions,
    images: ImageOptions,
    calibration: CalibrationOptions,
    evaluation: EvaluationOptions,
    run: RunOptions,
    *,
    keeps: Annotated[
        str, typer.Option(help="Fractions to keep, largest first.")
    ] = "0.9,0.8,0.7,0.6,0.5,0.4,0.3,0.2",
    metric: Annotated[str, typer.Option(help="The cost they are fractions of.")] = "params",
    of: Annotated[Scope, typer.Option(help="All of the model, or only what can change.")] = "model",
    baselines: Annotated[bool, typer.Option(help="Add uniform ranks, to compare.")] = True,
    moments: Annotated[
        Path | None, typer.Option(help="File that calibrate wrote, in place of calibrating.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="JSON file; what it holds already is not done again.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="HTML page to write.")] = None,
) -> Result:
    """Compress to many budgets, evaluate each, and show accuracy against cost."""

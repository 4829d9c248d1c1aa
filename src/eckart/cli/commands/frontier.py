"""``eckart frontier``: accuracy against cost at many fractions kept, as table, JSON and page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import eckart
from eckart.cli.entry import Interrupted, command_line, stopped, typed_words
from eckart.cli.names import KEEPS
from eckart.cli.options.grouping import grouped
from eckart.cli.options.parsing import parse_fractions, usage_error
from eckart.cli.options.planning import MomentsOptions, PlanOptions, gather
from eckart.cli.options.shared import (
    CalibrationOptions,
    EvaluationOptions,
    ImageOptions,
    ModelOptions,
    RunOptions,
    TextOptions,
    judge,
    option,
)
from eckart.cli.options.timing import TimingOptions
from eckart.cli.options.workers import WorkerOptions
from eckart.cli.shown.first import say_first
from eckart.cli.shown.output import Result, file_to_write
from eckart.costs import COSTS
from eckart.errors import EckartError, FrontierInterrupted, InputError
from eckart.records.budgets import MS

if TYPE_CHECKING:
    from rich.console import RenderableType
    from torch import nn

    from eckart.moments import Moments
    from eckart.records import Curves, Offer


@grouped
def frontier_command(
    model: ModelOptions,
    plan: PlanOptions,
    images: ImageOptions,
    text: TextOptions,
    calibration: CalibrationOptions,
    evaluation: EvaluationOptions,
    moments: MomentsOptions,
    timing: TimingOptions,
    work: WorkerOptions,
    run: RunOptions,
    *,
    keeps: Annotated[str, option("Plan", "Fractions to keep, with commas between.")] = ",".join(
        map(str, KEEPS)
    ),
    cost: Annotated[str, option("Plan", "The cost they are fractions of.")] = "params",
    baselines: Annotated[bool, option("Plan", "Add plain SVD at uniform ranks.")] = True,
    latency: Annotated[bool, option("Run", "Time one example on each network.")] = False,
    out: Annotated[
        Path | None, option("Run", "JSON file; points that it has already are not done again.")
    ] = None,
    report: Annotated[Path | None, option("Run", "HTML page to write.")] = None,
) -> Result:
    """Compress to many budgets, evaluate each network, and show accuracy against cost."""
    from eckart.cli.shown.reproducing import point_command  # here, because refusals need no page
    from eckart.report import frontier_table, write_report

    fractions = parse_fractions(keeps, "--keeps")
    if cost not in (known := [*COSTS, MS]):
        raise usage_error("--cost", f"unknown cost {cost!r}; the costs are {', '.join(known)}")
    offer = plan.offer.under([cost])
    for group in (model, moments, timing):
        group.check()
    for path in (out, report):
        file_to_write(path)
    data = images.open(text, model)
    source = moments.source(data, calibration)
    batches = evaluation.take(data)
    run.start()
    network = model.load()
    gathered = gather(network, source, images.seed, moments.workspace, calibration.chosen)
    how: dict[str, Any] = {"workers": work.given, "progress": True}
    first = _first(network, gathered, offer, cost)
    if first is not None:
        say_first(first, fractions, cost, plan.scope)
    options = eckart.curves(network, gathered, offer=offer, reuse=first, **how)
    with _resumable(out):
        found = eckart.frontier(
            network,
            gathered,
            judge(batches),
            keeps=fractions,
            cost=cost,
            timings=timing.needed([cost], network, gathered, plan.activations),
            of=plan.scope,
            options=options,
            baselines=baselines,
            latency=latency,
            path=out,
            **how,
        )
    files, failure, words = {"out": out}, None, typed_words()
    if report is not None:
        try:
            files["report"] = write_report(
                found,
                options,
                report,
                title=model.model,
                command=command_line(),
                point_command=lambda point: point_command(words, point, cost),
            )
        except EckartError as error:  # the points are shown all the same
            failure = error
    written = {name: str(path) for name, path in files.items() if path is not None}
    shown: list[RenderableType] = [frontier_table(found)]
    shown += [f"written: {path}" for path in written.values()]
    return Result({"model": model.model, **found.as_json(), **written}, shown, failure)


def _first(network: nn.Module, moments: Moments, offer: Offer, cost: str) -> Curves | None:
    """Curves of low rank; None if it is not offered, or if milliseconds are asked for."""
    from eckart.stages.curves.first import first_curves  # brings torch

    with suppress(InputError):  # what is wrong with the offer is said by curves, too
        return None if cost == MS else first_curves(network, moments, offer=offer, progress=False)
    return None


@contextmanager
def _resumable(out: Path | None) -> Iterator[None]:
    """Say how to go on when interrupted."""
    try:
        yield
    except FrontierInterrupted as error:
        raise stopped(error, _to_go_on(out)) from error
    except KeyboardInterrupt as error:
        raise Interrupted("no point was measured yet") from error


def _to_go_on(out: Path | None) -> str:
    if out is None:
        return "give --out FILE.json to keep the points that are done"
    return f"the points so far are in {out}; run the same to go on"

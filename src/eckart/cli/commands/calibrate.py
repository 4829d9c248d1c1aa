"""``eckart calibrate``: one pass over a little data, kept as a file that serves every budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import eckart
from eckart.cli.entry import stopped
from eckart.cli.names import METRICS
from eckart.cli.options.grouping import grouped
from eckart.cli.options.parsing import usage_error
from eckart.cli.options.ranks import Ranks
from eckart.cli.options.shared import (
    CalibrationOptions,
    Examples,
    ImageOptions,
    ModelOptions,
    RunOptions,
    TextOptions,
)
from eckart.cli.shown.output import Result, file_to_write, say
from eckart.errors import CalibrationInterrupted, InputError
from eckart.records.offer import AUTO

if TYPE_CHECKING:
    from torch import nn

    from eckart.metrics import Chosen
    from eckart.moments import Moments

_NONE = "none"


def _known_metric(name: str) -> str:
    known = (AUTO, *METRICS, _NONE)
    if name not in known:
        raise usage_error("--metric", f"unknown metric {name!r}; known: {', '.join(known)}")
    return name


@grouped
def calibrate_command(
    model: ModelOptions,
    images: ImageOptions,
    text: TextOptions,
    calibration: CalibrationOptions,
    run: RunOptions,
    *,
    out: Annotated[
        Path, typer.Option(help="Safetensors file to write the moments to.", show_default=False)
    ],
    metric: Annotated[
        str,
        typer.Option(
            help="What a change of the output is measured in; none for inputs alone.",
            callback=_known_metric,
        ),
    ] = AUTO,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the file stopped, if there is one.")
    ] = False,
) -> Result | None:
    """Gather the moments of every layer from a little data, for any number of budgets."""
    model.check()
    file_to_write(out)
    batches = calibration.take(images.open(text, model))
    run.start()
    ranks = Ranks.here()
    before = eckart.Moments.load(out) if resume and out.exists() else None
    with ranks.joined():
        moments = _gathered(
            model.load(),
            batches,
            None if metric == _NONE else metric,
            calibration.chosen,
            images.seed,
            out,
            before,
            ranks,
        )
    if not ranks.leads:
        return None
    moments.save(out)
    document = {
        "moments": str(out),
        "layers": len(moments.specs),
        "examples": moments.examples,
        "batches": moments.batches,
        "metric": moments.metric,
        "bytes": moments.nbytes,
        "skipped": dict(moments.skipped),
        "outputs": moments.scales,
        "ignored": moments.ignored,
    }
    lines = [f"{out}: {moments}"]
    lines += [f"left out: {name}: {reason}" for name, reason in moments.skipped.items()]
    lines += [f"output left out: {path}: {why}" for path, why in moments.ignored.items()]
    return Result(document, lines)


def _gathered(
    model: nn.Module,
    batches: Examples,
    metric: str | None,
    outputs: Chosen,
    seed: int,
    out: Path,
    before: Moments | None,
    ranks: Ranks,
) -> Moments:
    """The moments of all batches; those of ``before`` are not read again."""
    from eckart.network.identity import check_same_network  # brings torch

    done = 0 if before is None else before.batches
    if before is not None:
        check_same_network(model, before.fingerprint, f"the moments in {out}")
        _check_goes_on(before, batches, metric, out)
        say(f"{out}: goes on after {done} batches")
        if done == len(batches):
            return before
    try:
        rest = eckart.calibrate(
            model,
            ranks.share(batches.after(done)),
            metric=metric,
            outputs=outputs,
            seed=seed,
            first_batch=done,
            progress=ranks.leads,
        )
    except CalibrationInterrupted as error:
        if ranks.size > 1:
            own = ranks.beside(out)
            error.moments.save(own)
            what = f"what rank {ranks.rank} has is in {own}, and cannot be resumed: start again"
            raise stopped(error, what) from error
        moments = error.moments if before is None else before + error.moments
        moments.save(out)
        kept = f"{moments.batches} of {len(batches)} batches are in {out}; go on with --resume"
        raise stopped(error, kept) from error
    return rest if before is None else before + rest


def _check_goes_on(before: Moments, batches: Examples, metric: str | None, out: Path) -> None:
    if metric not in (AUTO, before.metric):
        raise InputError(f"{out} was made with --metric {before.metric or _NONE}; give the same")
    expected = min(before.batches * batches.batch_size, batches.examples)
    if before.batches > len(batches) or before.examples != expected:
        raise InputError(
            f"{out} has {before.examples} examples in {before.batches} batches, which does not fit "
            f"{batches.examples} examples in batches of {batches.batch_size}: give the options it "
            "was made with, or start again without --resume"
        )

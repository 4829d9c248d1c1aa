"""``eckart demo``: the whole chain on two networks that are trained on the spot."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from rich.console import RenderableType
from torch import nn

from eckart import (
    Budget,
    Curves,
    Frontier,
    Moments,
    accuracy,
    allocate,
    apply,
    calibrate,
    curves,
    frontier,
    load,
    save,
)
from eckart.cli.options.grouping import grouped
from eckart.cli.options.shared import RunOptions, option
from eckart.cli.shown.output import Result, folder_to_write, say
from eckart.cli.sources.demo_networks import Digits, load_digits, make_cnn, make_mlp, train
from eckart.errors import CheckpointError
from eckart.report import frontier_table, write_report

KEEPS = (0.9, 0.7, 0.5, 0.3, 0.2, 0.1)


@dataclass(frozen=True)
class Subject:
    """A network of the demo.

    Attributes:
        name: of its files.
        title: of its page.
        make: gives it with random weights.
        epochs: to train for.
        report: file name of its page.
    """

    name: str
    title: str
    make: Callable[[], nn.Module]
    epochs: int
    report: str


SUBJECTS = (
    Subject("mlp", "MLP on digits", make_mlp, 100, "report-mlp.html"),
    Subject("cnn", "CNN on digits", make_cnn, 20, "report.html"),
)
SAVED, SAVED_KEEP = SUBJECTS[1], 0.5
_THREADS = 1  # the networks are so small that more would wait for one another


@grouped
def demo_command(
    run: RunOptions,
    *,
    output: Annotated[Path, option("Run", "Folder for what it writes.")] = Path("demo"),
    seed: Annotated[int, option("Run", "Of weights, order of images and probes.")] = 0,
) -> Result:
    """Train two small networks, compress them, and write a page for each; no network access."""
    start = time.perf_counter()
    torch.set_num_threads(run.threads or _THREADS)
    folder_to_write(output)
    trained, tested = load_digits(seed)
    findings = {s.name: study(s, trained, tested, seed, output) for s in SUBJECTS}
    folder = output / f"{SAVED.name}-{SAVED_KEEP}"
    keep_one(findings[SAVED.name], SAVED, tested, folder)
    seconds = time.perf_counter() - start
    document = {
        "frontiers": {name: found.frontier.as_json() for name, found in findings.items()},
        "reports": {s.name: str(output / s.report) for s in SUBJECTS},
        "saved": str(folder),
        "seconds": seconds,
    }
    shown: list[RenderableType] = []
    for subject in SUBJECTS:
        shown += [f"\n{subject.title}: {output / subject.report}"]
        shown += [frontier_table(findings[subject.name].frontier)]
    shown += [
        f"\n{folder} holds the {SAVED.name} with {SAVED_KEEP:.0%} of its parameters; loaded again, "
        f"it gives the same outputs. {seconds:.0f} s in all."
    ]
    return Result(document, shown)


@dataclass(frozen=True)
class Findings:
    """What the demo found out about one network."""

    model: nn.Module
    moments: Moments
    options: Curves
    frontier: Frontier


def study(subject: Subject, trained: Digits, tested: Digits, seed: int, output: Path) -> Findings:
    """Train, calibrate, and measure the frontier; write it as JSON and as a page."""
    say(f"{subject.name}: training")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = train(subject.make(), trained, epochs=subject.epochs, seed=seed)
    say(f"{subject.name}: calibrating on {len(trained.labels)} images")
    moments = calibrate(model, trained.batches(), seed=seed)
    options = curves(model, moments)
    say(f"{subject.name}: {options}")
    found = frontier(model, moments, accuracy(tested.batches()), keeps=KEEPS, options=options)
    found.save(output / f"frontier-{subject.name}.json")
    write_report(
        found, options, output / subject.report, title=subject.title, command="eckart demo"
    )
    return Findings(model, moments, options, found)


def keep_one(findings: Findings, subject: Subject, tested: Digits, folder: Path) -> None:
    """Save one compressed network, load it into a fresh one, and compare the outputs.

    Raises:
        CheckpointError: the outputs differ.
    """
    plan = allocate(findings.options, Budget(params=SAVED_KEEP))
    smaller = apply(findings.model, plan, findings.moments)
    save(smaller, folder)
    again = load(subject.make(), folder).eval()
    with torch.inference_mode():
        same = torch.equal(again(tested.images), smaller(tested.images))
    if not same:
        raise CheckpointError(f"{folder}: the network loaded from it gives other outputs")

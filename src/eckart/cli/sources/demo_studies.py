"""What the demo does with each of its networks: train, calibrate, measure, write, keep one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
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
from eckart.cli.shown.output import say
from eckart.cli.sources.demo_networks import Digits, make_cnn, make_mlp, train
from eckart.errors import CheckpointError
from eckart.report import write_report

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
    options = curves(model, moments, limits="params")
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

"""What the demo does with each of its networks: calibrate, measure, write, hand over the best."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eckart import (
    Curves,
    Frontier,
    Moments,
    accuracy,
    apply,
    calibrate,
    curves,
    export,
    frontier,
    load,
    save,
)
from eckart.cli.shown.output import say
from eckart.cli.sources.demo_networks import Digits, make_cnn, make_mlp, train
from eckart.cli.sources.demo_photographs import ResNet20
from eckart.errors import CheckpointError, InputError
from eckart.report import write_report
from eckart.report.recommended import Taken, recommended_point

KEEPS = (0.9, 0.7, 0.5, 0.3, 0.2, 0.1)
Batches = Iterable[tuple[Any, Any]]


@dataclass(frozen=True)
class Subject:
    """A network of the demo.

    Attributes:
        name: of its files.
        title: of its page.
        make: gives it with random weights.
        epochs: to train for; 0 for a network that is trained already.
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
PHOTOGRAPHS = Subject("resnet20", "ResNet-20 on photographs", ResNet20, 0, "report-resnet20.html")


@dataclass(frozen=True)
class Findings:
    """What the demo found out about one network, and where the recommended one was written."""

    frontier: Frontier
    folder: Path


def trained_on(digits: Digits, subject: Subject, seed: int) -> nn.Module:
    """The network, trained on the spot."""
    say(f"{subject.name}: training")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return train(subject.make(), digits, epochs=subject.epochs, seed=seed)


def study(
    subject: Subject,
    model: nn.Module,
    calibration: Batches,
    tested: Batches,
    output: Path,
    *,
    command: str = "eckart demo",
    seed: int = 0,
) -> Findings:
    """Calibrate, measure the frontier, write the recommended network, and a page about it all."""
    say(f"{subject.name}: calibrating")
    moments = calibrate(model, calibration, seed=seed)
    options = curves(model, moments, limits="params")
    say(f"{subject.name}: {options}")
    evaluate = accuracy(tested)
    found = frontier(model, moments, evaluate, keeps=KEEPS, options=options, latency=True)
    found.save(output / f"frontier-{subject.name}.json")
    folder = output / subject.name
    taken = handed_over(found, model, moments, subject, folder)
    _write_page(found, options, output / subject.report, subject, taken, command)
    return Findings(found, folder)


def handed_over(
    found: Frontier, model: nn.Module, moments: Moments, subject: Subject, folder: Path
) -> Taken:
    """Save and export the recommended network; what is loaded again must give equal outputs.

    Raises:
        CheckpointError: the outputs differ.
    """
    point = recommended_point(found)
    smaller = apply(model, point.plan, moments)
    save(smaller, folder)
    again = load(subject.make(), folder).eval()
    with torch.inference_mode():
        same = torch.equal(again(moments.example), smaller(moments.example))
    if not same:
        raise CheckpointError(f"{folder}: the network loaded from it gives other outputs")
    exported = _exported(smaller, folder, moments.example)
    lines = (
        f"smaller = eckart.compress(model, batches, keep={point.keep:g}).model\n"
        f'eckart.save(smaller, "{folder.name}")\n'
        f'eckart.export(smaller, "{exported.name}", example)'
    )
    files = {
        folder: "for eckart.load: safetensors and JSON",
        exported: "for ONNX Runtime, OpenVINO and others"
        if exported.suffix == ".onnx"
        else "for torch.export.load",
    }
    return Taken(files, lines)


def _exported(smaller: nn.Module, folder: Path, example: Any) -> Path:
    """An ONNX file; a program of torch where the packages for ONNX are missing."""
    try:
        return export(smaller, folder.with_suffix(".onnx"), example)
    except InputError as error:
        say(f"{folder.name}: {error}")
        return export(smaller, folder.with_suffix(".pt2"), example, format="torch")


def _write_page(
    found: Frontier, options: Curves, path: Path, subject: Subject, taken: Taken, command: str
) -> None:
    write_report(found, options, path, title=subject.title, command=command, taken=taken)

"""What healing gains: each treatment alone and all in order, against more calibration.

Rows already in the results are not measured again; to do so, delete them or the file.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

import eckart
from benchmarks.healing.healing_subjects import SUBJECTS, Shuffled, Subject, pairs
from benchmarks.measuring.clocks import timed
from benchmarks.measuring.counts import count_params
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.subjects.data import CALIBRATION_IMAGES
from benchmarks.subjects.scoring import accuracy
from eckart.stages.heal.closeness import closeness

KEEPS = (0.5, 0.3)
ALONE = ("correct", "refit", "distil")
IN_ORDER, MORE_DATA = "correct,refit,distil", "calibrated on all"
TREATMENTS = (*ALONE, IN_ORDER, MORE_DATA)


def healed(subject: Subject, smaller: nn.Module, names: Sequence[str]) -> nn.Module:
    """Heal in closed form on a few images or by gradient steps on all, judged on others."""
    closed = [name for name in names if name != "distil"]
    if closed:
        batches = pairs(subject.train, 0, min(subject.closed_form, subject.fitted))
        smaller = eckart.heal(
            smaller,
            subject.model,
            batches,
            moments=subject.moments,
            treatments=closed,
            progress=False,
        ).model
    if len(closed) == len(names):
        return smaller
    judged = pairs(subject.train, subject.fitted, len(subject.train[0]))
    loader = Shuffled(subject, subject.fitted)
    done = eckart.heal(
        smaller,
        subject.model,
        loader,
        treatments=["distil"],
        steps=subject.passes * len(loader),
        evaluate=closeness(subject.model, judged),
        held_out=0.0,
    )
    print(done.table(), flush=True)
    return done.model


@dataclass(frozen=True)
class Study:
    """One network: its subject, and the values that all its rows share."""

    name: str
    subject: Subject

    def compressed(self, keep: float, moments: eckart.Moments) -> nn.Module:
        subject = self.subject
        return eckart.compress(
            subject.model, moments, keep=keep, methods=subject.methods, progress=False
        ).model

    def row(self, keep: float, treatment: str) -> Row:
        """One row; ``seconds`` is the CPU time after the network was first made smaller."""
        subject = self.subject
        start = self.compressed(keep, subject.moments)
        moments, seconds = self.all_moments if treatment == MORE_DATA else (None, 0.0)
        before = time.process_time()
        if moments is not None:
            model = self.compressed(keep, moments)
        else:
            model = healed(subject, start, treatment.split(","))
        seconds += time.process_time() - before
        return {
            "network": self.name,
            "keep": keep,
            "treatment": treatment,
            "params": count_params(model) / count_params(subject.model),
            "dense": accuracy(subject.model, *subject.test),
            "start": accuracy(start, *subject.test),
            "accuracy": accuracy(model, *subject.test),
            "images": len(subject.test[0]),
            "seconds": seconds,
        }

    @cached_property
    def all_moments(self) -> tuple[eckart.Moments, float]:
        """Moments of all training images that are not used for judging, and their CPU seconds."""
        subject = self.subject
        seconds, moments = timed(lambda: subject.calibrated(subject.fitted), time.process_time)
        return moments, seconds


def measure(
    output: Path,
    data: Path | None = None,
    *,
    networks: Sequence[str] = tuple(SUBJECTS),
    keep: Sequence[float] = KEEPS,
    treatments: Sequence[str] = TREATMENTS,
) -> None:
    """Measure the rows that the results do not have yet."""
    results = Results(output)
    for name in networks:
        missing = [
            (fraction, treatment)
            for fraction in keep
            for treatment in treatments
            if not results.has(network=name, keep=fraction, treatment=treatment)
        ]
        if not missing:
            continue
        study = Study(name, SUBJECTS[name](data))
        for fraction, treatment in missing:
            if treatment == MORE_DATA and study.subject.fitted <= CALIBRATION_IMAGES:
                continue  # these calibrate on all images already
            results.add(study.row(fraction, treatment))


MEASUREMENT = Measurement(measure, choices={"networks": tuple(SUBJECTS), "treatments": TREATMENTS})

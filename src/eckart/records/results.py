"""Measurements of networks, and the frontier they form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, nan
from pathlib import Path
from typing import Any

from eckart.errors import CheckpointError, MismatchError
from eckart.records.plans import Plan
from eckart.records.reading import Count, Width, read
from eckart.records.scores import Score
from eckart.records.timings import terms_text
from eckart.storage.documents import unsealed
from eckart.storage.reading import read_json, write_sealed
from eckart.storage.writing import shown

MAX_BYTES = 256 * 1024 * 1024  # of a frontier; 36 plans of a thousand layers take a tenth of it


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a network costs and how well it does.

    Attributes:
        params: number of parameters.
        macs: multiply-adds for one example.
        bytes: bytes of the parameters and of the buffers that are saved with them.
        latency_ms: median time of one forward pass on the example inputs; None if not timed.
        latency_spread_ms: interquartile range of that time.
        batch: examples in the timed batch.
        runtime: where it was timed.
        threads: of the runtime, when it was timed.
        layer_macs: multiply-adds by plain layer.
        score: how well it does its task, if that was evaluated.
    """

    params: Count
    macs: Count
    bytes: Count
    latency_ms: float | None = None
    latency_spread_ms: float | None = None
    batch: Width = 1
    runtime: str = "eager"
    threads: Width = 1
    layer_macs: Mapping[str, Count] = field(default_factory=dict)
    score: Score | None = None

    @property
    def timed(self) -> bool:
        """Whether the latency was measured."""
        return self.latency_ms is not None

    def is_slower_than(self, other: Measurement) -> bool:
        """Whether it takes longer, by more than both times spread together."""
        if self.latency_ms is None or other.latency_ms is None:
            return False
        spread = (self.latency_spread_ms or 0.0) + (other.latency_spread_ms or 0.0)
        return self.latency_ms - other.latency_ms > spread

    def __str__(self) -> str:
        counts = f"{self.params:,} parameters, {self.macs:,} multiply-adds"
        time = "" if self.latency_ms is None else f", {self.latency_ms:.3g} ms"
        return f"{counts}{time}" + ("" if self.score is None else f", score {self.score}")

    def as_json(self) -> dict[str, Any]:
        """Plain dictionary."""
        scalars = {k: v for k, v in self.__dict__.items() if k not in ("score", "layer_macs")}
        score = None if self.score is None else self.score.as_json()
        return {**scalars, "layer_macs": dict(self.layer_macs), "score": score}

    @classmethod
    def from_json(cls, data: Any) -> Measurement:
        """The inverse of ``as_json``, except that the score's samples are not kept."""
        return read(cls, data)

    @property
    def terms(self) -> str:
        """Where it was timed, with which batch and threads."""
        return terms_text(self.runtime, self.batch, self.threads)


def no_gain(dense: Measurement, smaller: Measurement) -> str:
    """In what a smaller network is no gain, as the end of one sentence; empty if it is a gain."""
    found = []
    if smaller.is_slower_than(dense) and smaller.latency_ms and dense.latency_ms:
        ratio = smaller.latency_ms / dense.latency_ms
        found.append(f"takes {ratio:.2f} times as long as the dense one, on this machine")
    old, new = dense.score, smaller.score
    if old is not None and new is not None and new.is_much_worse_than(old):
        change = f"{new.change_from(old)} from {old.value:.4g} to {new.value:.4g}"
        found.append(f"has a score that is worse by more than a tenth: a {change}")
    return ", and ".join(found)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One network of a frontier: what was asked for, what was done, and the result.

    Attributes:
        keep: the fraction asked for.
        label: the family it belongs to: ``"eckart"``, or the name of a baseline.
        plan: what was done.
        measurement: its costs and score.
        drop_error: standard error of the score's drop from the dense network; None if unknown.
    """

    keep: float
    label: str
    plan: Plan
    measurement: Measurement
    drop_error: float | None = None

    @classmethod
    def of(
        cls, keep: float, label: str, plan: Plan, measurement: Measurement, dense: Measurement
    ) -> Point:
        """A point with the standard error of its drop from the dense network's score."""
        error = nan
        if measurement.score is not None and dense.score is not None:
            error = measurement.score.drop_error(dense.score)
        return cls(
            keep=keep,
            label=label,
            plan=plan,
            measurement=measurement,
            drop_error=error if isfinite(error) else None,
        )

    def as_json(self) -> dict[str, Any]:
        """Plain dictionary."""
        return {
            "keep": self.keep,
            "label": self.label,
            "plan": self.plan.as_json(),
            "measurement": self.measurement.as_json(),
            "drop_error": self.drop_error,
        }

    @classmethod
    def from_json(cls, data: Any) -> Point:
        """The inverse of ``as_json``."""
        return read(cls, data)


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """Accuracy against cost: the dense network and the points, in the order asked for.

    The networks are not kept. ``apply(model, point.plan, moments)`` makes one again.

    Attributes:
        dense: measurement of the dense network.
        points: one per kept fraction and label.
        cost: the cost that ``keep`` is a fraction of, such as ``"params"``.
        fingerprint: of the dense network.
    """

    dense: Measurement
    points: tuple[Point, ...]
    cost: str
    fingerprint: str

    def __str__(self) -> str:
        rows = [(f"{p.label}, {p.keep:g} of {self.cost}", p.measurement) for p in self.points]
        width = max(len(name) for name, _ in [("dense", self.dense), *rows])
        return "\n".join(
            f"{name:<{width}}  {found}" for name, found in [("dense", self.dense), *rows]
        )

    def labelled(self, label: str) -> tuple[Point, ...]:
        """The points of one family."""
        return tuple(point for point in self.points if point.label == label)

    def as_json(self) -> dict[str, Any]:
        """Plain dictionaries and lists."""
        return {
            "dense": self.dense.as_json(),
            "points": [point.as_json() for point in self.points],
            "cost": self.cost,
            "fingerprint": self.fingerprint,
        }

    @classmethod
    def from_json(cls, data: Any) -> Frontier:
        """The inverse of ``as_json``."""
        return read(cls, data)

    def save(self, path: str | Path) -> None:
        """Write as JSON with a digest, completely or not at all.

        Raises:
            WriteError: the disk is full, or cannot be written to.
        """
        write_sealed(path, self.as_json())

    @classmethod
    def load(cls, path: str | Path) -> Frontier:
        """Read what ``save`` wrote.

        Raises:
            CheckpointError: the file is missing, or not what was written.
        """
        data = read_json(path, MAX_BYTES)
        try:
            return cls.from_json(unsealed(data, required=False))
        except CheckpointError as error:
            raise CheckpointError(f"cannot read a frontier from {shown(path)}: {error}") from error

    def resumed(
        self, path: str | Path, plans: Mapping[tuple[float, str], Plan]
    ) -> dict[tuple[float, str], Point]:
        """The points of a file that are still valid; none if there is no file.

        Points are valid if the dense network had the same score then as now, so the data are the
        same. Points that were made by a plan other than the one in ``plans`` are left out.

        Raises:
            CheckpointError: the file is damaged.
            MismatchError: the file belongs to another network or cost.
        """
        if not Path(path).exists():
            return {}
        saved = Frontier.load(path)
        if (saved.fingerprint, saved.cost) != (self.fingerprint, self.cost):
            raise MismatchError(
                f"{path} holds the frontier of another network or cost; name another file"
            )
        if (saved.dense.score, saved.dense.timed) != (self.dense.score, self.dense.timed):
            return {}
        known = {(point.keep, point.label): point for point in saved.points}
        return {
            key: point
            for key, point in known.items()
            if key not in plans or point.plan.carries_out(plans[key])
        }

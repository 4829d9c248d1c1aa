"""A network of the README's table, with its data, its score and its budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import eckart
from benchmarks.subjects.data import Labelled
from eckart.records.offer import AUTO
from eckart.running.batches import first_examples

Answer = Callable[[Any], Tensor]
Judge = Callable[[Answer], tuple[float, int]]
_PROFILED = "onnxruntime"


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained network with all that the table needs.

    Attributes:
        name, title: in the results, in the table.
        unit: of the score.
        inputs: what one call is given, in words.
        load: makes the network, trained and in eval mode.
        batches: for calibration.
        example: what is exported and timed.
        judge: the score of a file, and the number of examples.
        budgets: by title.
        methods: that eckart may use.
        peer: which of the peers is the best one known for such a network.
    """

    name: str
    title: str
    unit: str
    inputs: str
    load: Callable[[], nn.Module]
    batches: Sequence[Any]
    example: Any
    judge: Judge
    budgets: Mapping[str, eckart.Budget]
    peer: str
    methods: str | tuple[str, ...] = AUTO

    @cached_property
    def model(self) -> nn.Module:
        """The dense network."""
        return self.load()

    def fresh(self) -> nn.Module:
        """Another one, to load into."""
        return self.load()

    @property
    def few(self) -> list[Any]:
        """As many examples as a quantiser needs, in batches of the example's size."""
        return [first_examples(batch, len(first_tensor(self.example))) for batch in self.batches]

    def compress(self, title: str, workspace: Path) -> eckart.Compressed:
        """The network of one budget, from moments that are gathered once for all of them."""
        moments = eckart.calibrate(self.model, self.batches, workspace=workspace, progress=False)
        budget, timings = self.budgets[title], None
        if budget.ms is not None:
            count = len(first_tensor(self.example))
            settings: dict[str, Any] = {"runtime": _PROFILED, "batch": count, "threads": 1}
            timings = eckart.profile(self.model, moments, progress=False, **settings)
        known: dict[str, Any] = {"timings": timings, "latency": False, "progress": False}
        how = known | {"budget": budget, "methods": self.methods}
        return eckart.compress(self.model, moments, **how)


def first_tensor(batch: Any) -> Tensor:
    """The tensor that has one row per example."""
    found = next(iter(batch.values())) if isinstance(batch, dict) else batch
    return found if isinstance(found, Tensor) else first_tensor(found[0])


def hits(data: Labelled, classes: Sequence[int] = (), batch: int = 50) -> Judge:
    """Percent of images whose largest output, of these classes, is the right one."""
    images, labels = data

    def judge(answer: Answer) -> tuple[float, int]:
        logits = torch.cat([answer(some) for some in images.split(batch)])
        found = (logits[:, list(classes)] if classes else logits).argmax(1)
        return 100 * float((found == labels).double().mean()), len(labels)

    return judge

"""The options that say where networks are timed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import eckart
from eckart.cli.names import RUNTIMES
from eckart.cli.options.parsing import usage_error
from eckart.cli.options.shared import option
from eckart.cli.shown.output import file_to_write
from eckart.records import Measurement
from eckart.records.budgets import MS

if TYPE_CHECKING:
    from torch import nn

    from eckart.moments import Moments
    from eckart.records.timings import Timings
    from eckart.scores import Evaluate


def _known_runtime(name: str) -> str:
    """The name as it was given, once it is known."""
    if name not in RUNTIMES:
        known = ", ".join(RUNTIMES)
        raise usage_error("--runtime", f"unknown runtime {name!r}; known: {known}")
    return name


@dataclass(frozen=True)
class TimingOptions:
    """Where networks are timed, and on how many examples."""

    runtime: Annotated[
        str,
        option("Timing", f"Where to time: {', '.join(RUNTIMES)}.", callback=_known_runtime),
    ] = "eager"
    batch: Annotated[int, option("Timing", "Examples in a timed pass.", min=1)] = 1
    timings: Annotated[
        Path | None,
        option("Timing", "JSON file that keeps what was timed for budgets in milliseconds."),
    ] = None

    def check(self) -> None:
        """Raise for what can be refused before anything is imported."""
        file_to_write(self.timings)

    def needed(
        self, costs: Collection[str], network: nn.Module, moments: Moments, activations: int = 0
    ) -> Timings | None:
        """The timings if milliseconds are limited, from the file or made now.

        Args:
            costs: that are limited.
            network: to be timed.
            moments: of it.
            activations: bits that activations may be rounded to, see ``eckart.profile``.
        """
        if MS not in costs:
            return None
        return eckart.profile(
            network,
            moments,
            runtime=self.runtime,
            batch=self.batch,
            activations=activations,
            path=self.timings,
            progress=True,
        )

    def measured(
        self, network: nn.Module, example: Any, evaluate: Evaluate | None, latency: bool
    ) -> Measurement:
        """A network measured on these terms."""
        from eckart.running.batches import batch_of  # here, because refusals need no torch

        inputs = batch_of(example, self.batch) if self.batch > 1 else example
        return eckart.measure(
            network, inputs, evaluate=evaluate, latency=latency, runtime=self.runtime
        )

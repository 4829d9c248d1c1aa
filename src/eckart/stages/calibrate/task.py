"""What a calibration is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from eckart.metrics import Probe, name_of


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is gathered.

    Attributes:
        model: the network, with what hides plain layers opened.
        fingerprint: of the network as it was given.
        stored: its parameters and bytes as it was given, where it was opened.
        layers: whose moments are wanted, by name.
        skipped: why those of the others are not.
        metric: what is differentiated; None for input moments only.
        seed: of the probes.
        first_batch: index of the first batch.
    """

    model: nn.Module
    fingerprint: str
    stored: Mapping[str, int]
    layers: Mapping[str, nn.Module]
    skipped: Mapping[str, str]
    metric: str | Probe | None
    seed: int
    first_batch: int

    @property
    def settings(self) -> dict[str, Any]:
        """What two runs have in common whose moments may be added, as plain JSON."""
        return {
            "metric": name_of(self.metric),
            "seed": self.seed,
            "first_batch": self.first_batch,
            "fingerprint": self.fingerprint,
        }

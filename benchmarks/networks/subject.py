"""What is asked of a trained network so that it can be compressed and scored."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from eckart import Score


@dataclass(frozen=True)
class Subject:
    """A trained network with data of its own.

    Attributes:
        network: dense, in eval mode.
        calibration: batches that are not scored.
        score: of a network, by the measure of its trade.
        metric: what counts as a change of its output.
        unit: of the score.
    """

    network: Callable[[Path], nn.Module]
    calibration: Callable[[Path], list[Any]]
    score: Callable[[Path], Callable[[nn.Module], Score]]
    metric: str
    unit: str

"""The options of ``--plan-run``: what there is to run on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from eckart.cli.options.shared import option

if TYPE_CHECKING:
    from eckart.pipeline.forecast import Machines


@dataclass(frozen=True)
class ForecastOptions:
    """Whether to say what a run takes, and on what."""

    plan_run: Annotated[
        bool,
        option(
            "Plan a run",
            "Say what calibration and decompositions take, from the configuration alone.",
        ),
    ] = False
    gpus: Annotated[int, option("Plan a run", "How many GPUs.", min=1)] = 8
    flops_per_second: Annotated[
        float, option("Plan a run", "That the network sustains on one GPU, in bfloat16.", min=1e6)
    ] = 4e14
    memory: Annotated[float, option("Plan a run", "GB of one GPU.", min=0.1)] = 80.0
    tokens: Annotated[int, option("Plan a run", "To calibrate on.", min=1)] = 2**20

    @property
    def machines(self) -> Machines:
        """What there is."""
        from eckart.pipeline.forecast import Machines  # brings torch

        return Machines(self.gpus, self.flops_per_second, self.memory * 1e9)

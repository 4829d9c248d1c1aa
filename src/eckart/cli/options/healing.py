"""The options that heal a smaller network, and what is shown of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import eckart
from eckart.cli.names import TREATMENTS
from eckart.cli.options.parsing import known_names, parse_names, usage_error
from eckart.cli.options.shared import CalibrationOptions, Data, Examples, needed, option
from eckart.cli.shown.output import folder_to_write, say
from eckart.cli.sources.text_data import TextData
from eckart.errors import HealingInterrupted

if TYPE_CHECKING:
    from torch import nn

    from eckart.moments import Moments
    from eckart.records import Healed

_LABELLED = {"finetune"}


def _known_treatments(text: str) -> str:
    """The names as they were given, once they are known."""
    known_names(text, TREATMENTS, "treatment", "--heal")
    return text


@dataclass(frozen=True)
class HealingOptions:
    """Whether and how the smaller network is healed."""

    heal: Annotated[
        str,
        option(
            "Healing",
            f"Treatments in their order, with commas between, of {', '.join(TREATMENTS)}.",
            callback=_known_treatments,
        ),
    ] = ""
    steps: Annotated[
        int | None,
        option("Healing", "Gradient steps of distil; two passes if not given.", min=1),
    ] = None
    heal_examples: Annotated[
        int, option("Healing", "Images to heal on, those calibrated on among them.", min=2)
    ] = 10_000
    heal_checkpoint: Annotated[
        Path | None,
        option("Healing", "Folder that distil goes on from when the same command is run again."),
    ] = None

    @property
    def treatments(self) -> tuple[str, ...]:
        """Names, in order; none where nothing is healed."""
        return parse_names(self.heal)

    def check(self) -> None:
        """Raise for options of healing where nothing is healed."""
        if not self.treatments and (self.steps is not None or self.heal_checkpoint is not None):
            raise usage_error("--steps / --heal-checkpoint", "they go with --heal distil")

    def take(self, data: Data | None, calibration: CalibrationOptions) -> Examples | None:
        """The images, or the text calibrated on; None where nothing is healed.

        Raises:
            typer.BadParameter: no data.
        """
        if not self.treatments:
            return None
        folder_to_write(self.heal_checkpoint)
        data, labelled = needed(data), not _LABELLED.isdisjoint(self.treatments)
        if isinstance(data, TextData):
            return data.calibration(again=True)
        split = calibration.named(data)
        return data.take(split, self.heal_examples, labelled=labelled, again=True)

    def healed(
        self, smaller: nn.Module, dense: nn.Module, batches: Examples, moments: Moments, seed: int
    ) -> Healed:
        """The healed network; the best so far, with a warning, where healing fails on the way."""
        try:
            return eckart.heal(
                smaller,
                dense,
                batches,
                progress=True,
                moments=moments,
                treatments=self.treatments,
                steps=self.steps,
                checkpoint=self.heal_checkpoint,
                seed=seed,
            )
        except HealingInterrupted as error:
            say(f"eckart: warning: {error.__cause__}; the best network so far is kept")
            found: Healed = error.healed
            return found

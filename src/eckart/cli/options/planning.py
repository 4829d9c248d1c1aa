"""The options that decide on a plan: the moments it is made from, and what it may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import eckart
from eckart.cli.entry import stopped
from eckart.cli.names import METHODS, SELECTIONS
from eckart.cli.options.parsing import known_names, parse_bits, parse_names, usage_error
from eckart.cli.options.shared import CalibrationOptions, Data, Examples, option
from eckart.errors import CalibrationInterrupted, InputError
from eckart.records.budgets import Scope
from eckart.records.offer import AUTO, Offer
from eckart.records.pieces import ACTIVATIONS

if TYPE_CHECKING:
    from torch import nn

    from eckart.metrics import Chosen
    from eckart.moments import Moments


class Of(str, Enum):
    """What fractions are taken of."""

    model = "model"
    reached = "reached"
    sites = "sites"


@dataclass(frozen=True)
class MomentsOptions:
    """Where the moments come from."""

    moments: Annotated[
        Path | None, option("Data", "File that calibrate wrote, in place of calibrating now.")
    ] = None
    workspace: Annotated[
        Path | None,
        option(
            "Data", "Folder that keeps what is finished, for large networks; killed runs go on."
        ),
    ] = None

    def check(self) -> None:
        """Raise for what can be refused before anything is imported."""
        if self.moments is not None and self.workspace is not None:
            raise usage_error("--workspace", "the moments are in --moments: give one of the two")
        if self.moments is not None and not self.moments.exists():
            raise InputError(f"--moments {self.moments}: there is no such file or workspace")

    def source(self, data: Data | None, calibration: CalibrationOptions) -> Moments | Examples:
        """The moments in the file, or the images or text to gather them from.

        Args:
            data: where they are; None is enough with a file.
            calibration: which of them; they are not handed out again, with a file neither.
        """
        if self.moments is None:
            return calibration.take(data)
        if calibration.outputs is not None:
            raise usage_error("--outputs", "the moments in --moments have theirs: leave it out")
        moments = eckart.Moments.load(self.moments)
        if data is not None:
            calibration.reserve(data, moments.examples)
        return moments


def gather(
    network: nn.Module,
    source: Moments | Examples,
    seed: int,
    workspace: Path | None,
    outputs: Chosen = None,
) -> Moments:
    """The moments, from the images or text if there are none yet."""
    if isinstance(source, eckart.Moments):
        return source
    try:
        return eckart.calibrate(
            network, source, outputs=outputs, seed=seed, workspace=workspace, progress=True
        )
    except CalibrationInterrupted as error:
        if workspace is not None:
            raise stopped(error, f"{workspace} keeps what is finished: call again") from error
        raise stopped(error, "eckart calibrate keeps what it has") from error


_METHODS_HELP = (
    f"Methods to offer, with commas between. Low rank: {', '.join(METHODS)}. Channels to remove, "
    f"one of: {', '.join(SELECTIONS)}; without one, all channels stay. {AUTO}: what fits."
)


def _known_methods(text: str) -> str:
    """The names as they were given, once they are known to make sense."""
    if text == AUTO:
        return text
    known = [*METHODS, *SELECTIONS]
    names = known_names(text, known, "method", "--methods")
    if not names:
        raise usage_error("--methods", f"name at least one of {', '.join(known)}")
    if len(channels := [name for name in names if name in SELECTIONS]) > 1:
        both = " and ".join(channels)
        raise usage_error("--methods", f"{both} both choose channels: give one of them")
    return text


def _known_bits(given: str) -> str:
    """The text itself, if it names widths of codes."""
    try:
        Offer(bits=parse_bits(given))
    except InputError as error:
        raise usage_error("--bits", str(error)) from error
    return given


def _known_activations(bits: int) -> int:
    """The number itself, if activations may have so many bits."""
    if bits not in (0, ACTIVATIONS):
        raise usage_error("--activations", f"{bits} is neither 0 nor {ACTIVATIONS}")
    return bits


def _known_damping(given: str) -> str:
    """The text itself, if it is a positive number or "auto"."""
    try:
        known = given == AUTO or float(given) > 0
    except ValueError:
        known = False
    if not known:
        raise usage_error("--damping", f"{given} is neither {AUTO} nor a positive number")
    return given


@dataclass(frozen=True)
class PlanOptions:
    """What a plan may do."""

    of: Annotated[
        Of,
        option(
            "Plan",
            "What budgets count: the model, what calibration reached of it, or the layers that can "
            "change.",
        ),
    ] = Of.model
    dense: Annotated[
        str, option("Plan", "Layers to leave dense: names or patterns, with commas between.")
    ] = ""
    methods: Annotated[str, option("Plan", _METHODS_HELP, callback=_known_methods)] = AUTO
    multiple: Annotated[
        int, option("Plan", "Offer only ranks and numbers of channels that it divides.", min=1)
    ] = 1
    least_rank: Annotated[int, option("Plan", "Offer no rank below.", min=1)] = 1
    bits: Annotated[
        str,
        option(
            "Plan",
            "Bits of codes, with commas between, such as 3,4,8; auto for all; none for no codes.",
            callback=_known_bits,
        ),
    ] = AUTO
    activations: Annotated[
        int,
        option(
            "Plan",
            f"{ACTIVATIONS}: also offer layers with weights and activations of {ACTIVATIONS} bits, "
            "for --ms.",
            callback=_known_activations,
        ),
    ] = 0
    damping: Annotated[
        str,
        option(
            "Plan",
            "Added to the moments, relative to their mean diagonal; auto shrinks them instead as "
            "far as the calibration data say.",
            callback=_known_damping,
        ),
    ] = AUTO
    rescale: Annotated[
        bool,
        option("Plan", "Measure what truncating each layer changes, and rescale by it."),
    ] = False

    @property
    def scope(self) -> Scope:
        """What fractions are of."""
        return self.of.value

    @property
    def offer(self) -> Offer:
        """What may be done to which layers."""
        return Offer(
            methods=AUTO if self.methods == AUTO else parse_names(self.methods),
            dense=parse_names(self.dense),
            multiple=self.multiple,
            bits=parse_bits(self.bits),
            activations=self.activations,
            least_rank=self.least_rank,
            damping=AUTO if self.damping == AUTO else float(self.damping),
            rescale=self.rescale,
        )

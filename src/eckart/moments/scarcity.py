"""Layers for which the calibration data are too few to say what they lose."""

from __future__ import annotations

from eckart.moments.record import Moments


def few_rows(moments: Moments) -> dict[str, str]:
    """What the moments of layers rest on that saw fewer rows than they have inputs.

    Their ``A`` has directions without any data. Factors lose nothing there by its measure, so the
    predicted loss is too low, and with ``damping="auto"`` it is a guess.
    """
    widths = {name: spec.piece.moment_shape[2] for name, spec in moments.specs.items()}
    rows = {name: moments.rows[spec.input] for name, spec in moments.specs.items()}
    return {
        name: f"{rows[name]:,} rows for {width:,} inputs"
        for name, width in widths.items()
        if rows[name] < width
    }

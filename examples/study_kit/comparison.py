"""A table of the notebook's figures that are not accuracies, beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from study_kit.study import table


@dataclass(frozen=True)
class Figure:
    """One figure, each as it is shown.

    Attributes:
        what: what was counted or timed.
        notebook: the notebook's figure.
        here: the same by the notebook's method, as measured here.
        eckart: eckart's figure; None if there is nothing to compare.
    """

    what: str
    notebook: str
    here: str
    eckart: str | None = None


def comparison(figures: Sequence[Figure]) -> str:
    """A Markdown table; without any figure of eckart's it has no column for them."""
    head = ("", "the notebook", "its method here", "**eckart**")
    cells = [(f.what, f.notebook, f.here, f.eckart) for f in figures]
    width = 4 if any(f.eckart for f in figures) else 3
    return table(head[:width], [cell[:width] for cell in cells])

"""The table that opens a study's page: the notebook's figures beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from study_kit.study import Row, percent, table

COLUMNS = {
    "": "what",
    "the notebook": "notebook",
    "its method here": "here",
    "eckart at equal cost": "eckart",
}
"""Heads, and the key of a row that each shows; a column is left out if no row has its key."""


def comparison(rows: Sequence[Row]) -> str:
    """A Markdown table; a row without a key has an empty cell."""
    shown = {head: key for head, key in COLUMNS.items() if any(key in row for row in rows)}
    return table(list(shown), [[row.get(key) for key in shown.values()] for row in rows])


def over_seeds(fractions: Sequence[float], digits: int = 2) -> str:
    """The mean in percent, and each seed's value in brackets if there are several."""
    each = [percent(fraction, digits) for fraction in fractions]
    average = percent(mean(fractions), digits)
    return f"{average} ({', '.join(each)})" if len(each) > 1 else average

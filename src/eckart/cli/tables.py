"""What commands show to a person: costs, layers and plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from rich import box
from rich.table import Table

from eckart.records import LayerSpec, Measurement, Plan
from eckart.report.formats import (
    UNKNOWN,
    ScoreFormat,
    fraction,
    loss_text,
    milliseconds,
    short_count,
)


def make_table(title: str, columns: Mapping[str, bool], rows: Sequence[Sequence[str]]) -> Table:
    """A table; ``columns`` tells for each heading whether what stands under it are numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for heading, is_number in columns.items():
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=is_number)
    for row in rows:
        table.add_row(*row)
    return table


def measurement_table(title: str, found: Measurement) -> Table:
    """One network: what it costs and how well it does."""
    rows = [(name, text) for name, text in _quantities(found).items()]
    return make_table(title, {"": False, "measured": True}, rows)


def before_after_table(before: Measurement, after: Measurement) -> Table:
    """Two networks, and what is left of the first in the second."""
    old, new = _quantities(before), _quantities(after)
    left = {
        "parameters": fraction(after.params, before.params),
        "multiply-adds": fraction(after.macs, before.macs),
        "bytes": fraction(after.bytes, before.bytes),
        "latency ms": _ratio(after.latency_ms, before.latency_ms),
        "score": _drop_text(before, after),
    }
    rows = [(name, old[name], new[name], left[name]) for name in old if name in new]
    columns = {"": False, "dense": True, "compressed": True, "left": True}
    return make_table("Before and after", columns, rows)


def plan_table(plan: Plan, specs: Mapping[str, LayerSpec]) -> Table:
    """What becomes of every layer, in the network's order, and why some stay as they are."""
    rows = []
    for name, spec in specs.items():
        choice = plan.choices.get(name)
        if choice is None:
            reason = plan.dense.get(name, "")
            rows.append((name, str(spec.dense), f"dense: {reason}", UNKNOWN, "1.000", UNKNOWN))
            continue
        kept = fraction(choice.form.params, spec.dense.params)
        loss = loss_text(choice.loss)
        rows.append((name, str(spec.dense), str(choice.form), choice.method, kept, loss))
    rows += [
        (name, "", f"dense: {reason}", UNKNOWN, "1.000", UNKNOWN)
        for name, reason in plan.dense.items()
        if name not in specs
    ]
    columns = {
        "layer": False,
        "before": False,
        "after": False,
        "method": False,
        "params frac.": True,
        "pred. loss": True,
    }
    return make_table("Layers", columns, rows)


def _quantities(found: Measurement) -> dict[str, str]:
    quantities = {
        "parameters": f"{found.params:,}",
        "multiply-adds": short_count(found.macs),
        "bytes": short_count(found.bytes),
    }
    if found.latency_ms is not None:
        quantities["latency ms"] = milliseconds(found.latency_ms)
    if found.score is not None:
        score = found.score
        form = ScoreFormat.of(score)
        quantities["score"] = form.text(score.value, score.standard_error) + form.unit
    return quantities


def _ratio(after: float | None, before: float | None) -> str:
    return UNKNOWN if after is None or not before else f"{after / before:.3f}"


def _drop_text(before: Measurement, after: Measurement) -> str:
    """How much worse the score is; the standard error is of the difference."""
    if before.score is None or after.score is None:
        return UNKNOWN
    drop, error = after.score.drop_from(before.score), after.score.drop_error(before.score)
    return "drop " + ScoreFormat.of(before.score).text(drop, error if isfinite(error) else None)

"""What commands show to a person: costs, layers and plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Literal

from rich import box
from rich.table import Table

from eckart.records import LayerSpec, Measurement, Plan
from eckart.records.plans import NARROWED
from eckart.report.formats import (
    UNKNOWN,
    ScoreFormat,
    fraction,
    loss_text,
    milliseconds,
    short_count,
)
from eckart.report.widths import width_text


def make_table(title: str, columns: Mapping[str, bool], rows: Sequence[Sequence[str]]) -> Table:
    """A table; ``columns`` tells for each heading whether what stands under it are numbers."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    for heading, is_number in columns.items():
        justify: Literal["left", "right"] = "right" if is_number else "left"
        table.add_column(heading, justify=justify, overflow="fold")
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
    """What becomes of every layer, in the network's order, and why some stay as they are.

    How many channels are left is told where any went; the loss of that is the groups'.
    """
    rows = [_layer_row(plan, name, spec) for name, spec in specs.items()]
    rows += [
        {"layer": name, "method": f"dense: {reason}", "params frac.": "1.000"}
        for name, reason in plan.dense.items()
        if name not in specs
    ]
    coded = any(choice.form.bits for choice in plan.choices.values())
    numbers = ("rank", *(("bytes frac.",) if coded else ()), "params frac.", "pred. loss")
    names = ["layer", "before", "after", "channels", "method", *numbers]
    if not plan.removals:
        names.remove("channels")
    cells = [[row.get(name, _absent(name)) for name in names] for row in rows]
    return make_table("Layers", {name: name in numbers for name in names}, cells)


def _layer_row(plan: Plan, name: str, spec: LayerSpec) -> dict[str, str]:
    """The cells of one layer, by column."""
    choice, reason = plan.choices.get(name), plan.dense.get(name) or plan.notes.get(name, "")
    row = {"layer": name, "before": str(spec.dense)}
    if choice is None:
        return {
            **row,
            "after": str(spec.dense),
            "method": f"dense: {reason}",
            "params frac.": "1.000",
        }
    row |= {
        "after": str(choice.form),
        "channels": width_text(choice.form, spec.dense) or "all",
        "method": f"{choice.method}: {reason}" if reason else choice.method,
        "params frac.": fraction(choice.form.params, spec.dense.params),
        "bytes frac.": fraction(
            *(f.stored_bytes(spec.itemsize) for f in (choice.form, spec.dense))
        ),
    }
    if choice.method == NARROWED:
        return row
    return {**row, "rank": str(choice.form.rank or UNKNOWN), "pred. loss": loss_text(choice.loss)}


def _absent(column: str) -> str:
    return {"before": "", "after": "", "channels": "all"}.get(column, UNKNOWN)


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
    by, error = abs(after.score.value - before.score.value), after.score.drop_error(before.score)
    change = ScoreFormat.of(before.score).text(by, error if isfinite(error) else None)
    return f"{after.score.change_from(before.score)} {change}"
